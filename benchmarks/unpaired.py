"""What images without captions and texts without images bring: methods that take them, beside the same without.

    python benchmarks/unpaired.py [--data DIR] [--styles VIEW/DATASET]    # DIR is the folder `data` of a run

Needs the stores of the default (`make repro`). In each of the five repeats a head gets 100, 300, 1,000 or all pairs of
the train split. Its unpaired rows are those of the train split whose pairs it did not get (`rest`), and further ones:
drawings of the same training concepts in styles that no pair has (a store of a data set `styles`, docs/unpaired.md),
and texts of the data set `text-tasks`, CLDR keywords and WordNet glosses. No row is of a family that the repeat
validates or tests on: rows of samples by data/splits, texts by `texts_of_training`.

Queries are the pairs of the **validation** split of the same repeat; the test split is read nowhere. Where a method has
values to choose, every one has a row. Score: the mean over emoji and stamps of R@1 from image to text and from text to
image. Intervals resample concept families of all repeats together and count the spread between repeats; differences
are paired by query with the row of the same number of pairs that sees no unpaired row.
"""

import argparse
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.accounting.machine import describe_machine
from pipeline.alignment.closed_form.kernel import gamma_of, kernel_ridge
from pipeline.alignment.closed_form.linear import cca, solve_lifted
from pipeline.alignment.closed_form.moments import Moments
from pipeline.alignment.data.views import read_images, read_texts
from pipeline.alignment.heads.fitted import RBF
from pipeline.alignment.heads.vectors import image_vector, text_vector
from pipeline.alignment.losses import info_nce, structure_loss
from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs, read_samples
from pipeline.evaluation.caption_sets import RetrievalSet
from pipeline.evaluation.metrics import chance_at, hits_at
from pipeline.features import FeatureStore
from pipeline.features.views import open_side
from pipeline.files import write_json
from pipeline.statistics import FamilyBootstrap

OUT = Path(__file__).parent / "results" / "unpaired.json"
DATASETS, REPEATS, DRAWS = ("emoji", "stamps"), 5, 2000
SIZES = (100, 300, 1000, None)
SHRINK, RIDGE = 1.0, 0.3  # of aligner `default`
WIDTH, STEPS, BATCH = 128, 100, 128  # of trained maps
Maps = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]  # of images and of texts, to unit vectors


@dataclass(frozen=True)
class Rows:
    """What a head may see in one repeat.

    Attributes:
        x, y: (n, X), (n, Y) float32, the vectors of n pairs, row by row.
        image, text: (n,) int64, equal for pairs of one image, or of one caption.
        more_x, more_y: vectors of images and of texts of which no pair is known.
    """

    x: Tensor
    y: Tensor
    image: Tensor
    text: Tensor
    more_x: Tensor
    more_y: Tensor

    @property
    def all_x(self) -> Tensor:
        """Every image once."""
        return torch.cat([by_image(self)[0], self.more_x])

    @property
    def all_y(self) -> Tensor:
        """The captions of the pairs, as often as they occur, and every other text once."""
        return torch.cat([self.y, self.more_y])


def by_image(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Each paired image once: its vector, the mean of its captions', and how many there are."""
    _, place, count = torch.unique(rows.image, return_inverse=True, return_counts=True)
    x = rows.x.new_zeros(len(count), rows.x.shape[1]).index_add(0, place, rows.x) / count[:, None]
    y = rows.y.new_zeros(len(count), rows.y.shape[1]).index_add(0, place, rows.y) / count[:, None]
    return x, y, count


# Closed forms ---------------------------------------------------------------------------------------------------------


def moments_of(rows: Rows, unpaired: bool) -> Moments:
    """Of the pairs; with `unpaired`, means and covariances of each side over all rows.

    Nothing in CCA but the cross-covariance needs pairs.
    """
    x, y = rows.x.double(), rows.y.double()
    centred_x, centred_y = x - x.mean(0), y - y.mean(0)
    cross = centred_x.T @ centred_y / len(x)
    if unpaired:
        x, y = rows.all_x.double(), rows.all_y.double()
    covariances = (torch.cov(side.T, correction=0) for side in (x, y))
    return Moments(len(rows.x), x.mean(0), y.mean(0), *covariances, cross)


def affine(mean: Tensor, matrix: Tensor | None) -> Callable[[Tensor], Tensor]:
    def apply(z: Tensor) -> Tensor:
        centred = z - mean.float()
        return F.normalize(centred if matrix is None else centred @ matrix.float(), dim=-1)

    return apply


def fit_cca(rows: Rows, unpaired: bool) -> Maps:
    """CCA as in the default."""
    moments = moments_of(rows, unpaired)
    first, second = cca(moments, SHRINK, 1.0)
    return affine(moments.mean_x, first), affine(moments.mean_y, second)


def fit_kernel(rows: Rows, unpaired: bool) -> Maps:
    """Kernel ridge as in the default; with `unpaired`, means and bandwidth over all rows."""
    moments = moments_of(rows, unpaired)
    x, y, count = by_image(rows)
    spread = rows.all_x if unpaired else rows.x
    centre_x, centre_y = moments.mean_x.float(), moments.mean_y.float()
    kernel = RBF(x - centre_x, gamma_of(spread.var(0), 1.0))
    solved = kernel_ridge(kernel(x - centre_x), y - centre_y, RIDGE, count).float()
    return lambda z: F.normalize(kernel(z - centre_x) @ solved, dim=-1), affine(moments.mean_y, None)


def fit_kernel_covariance(rows: Rows, unpaired: bool) -> Maps:
    """Ridge in the space of the kernel, where with `unpaired` the covariance of the features is that of all images.

    Features are Nystrom's on every image that may be seen, so that without unpaired rows this is kernel ridge itself.
    """
    moments = moments_of(rows, unpaired)
    seen = rows.all_x if unpaired else by_image(rows)[0]
    centre_x, centre_y = moments.mean_x.float(), moments.mean_y.float()
    kernel = RBF(seen - centre_x, gamma_of(seen.var(0), 1.0))
    gram = kernel(seen - centre_x).double()
    values, vectors = torch.linalg.eigh(gram)
    kept = values > 1e-6 * values[-1]
    root = vectors[:, kept] * values[kept].rsqrt()
    x, y, count = by_image(rows)
    features = kernel(x - centre_x).double() @ root
    everything = gram @ root if unpaired else features
    weight = torch.ones(len(everything)).double() if unpaired else count.double()
    second = (everything * weight[:, None]).T @ everything / weight.sum()
    cross = (features * count[:, None]).T @ (y - centre_y).double() / count.sum()
    solved = (root @ solve_lifted(second, cross, RIDGE / float(count.sum()))).float()
    return lambda z: F.normalize(kernel(z - centre_x) @ solved, dim=-1), affine(moments.mean_y, None)


def both(*heads: Maps) -> Maps:
    """Cosines added, as in the default."""
    share = len(heads) ** -0.5

    def joined(side: int) -> Callable[[Tensor], Tensor]:
        return lambda z: torch.cat([share * head[side](z) for head in heads], dim=-1)

    return joined(0), joined(1)


def fit_default(rows: Rows, unpaired: bool) -> Maps:
    """The head of the default."""
    return both(fit_cca(rows, unpaired), fit_kernel(rows, unpaired))


# Optimal transport ----------------------------------------------------------------------------------------------------


def transport(scores: Tensor, epsilon: float, iterations: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """Entropic optimal transport (Cuturi, NeurIPS 2013) of uniform marginals, by Sinkhorn's iterations on logarithms.

    Args:
        scores: (N, M), similarities: the cost is their negative.
        epsilon: weight of the entropy.

    Returns:
        The logarithm of the plan (N, M), whose columns sum to 1 / M, and both potentials, in units of epsilon.
    """
    logits = scores / epsilon
    rows, columns = len(scores), scores.shape[1]
    f, g = scores.new_zeros(rows), scores.new_zeros(columns)
    for _ in range(iterations):
        f = -np.log(rows) - (logits + g).logsumexp(1)
        g = -np.log(columns) - (logits + f[:, None]).logsumexp(0)
    return logits + f[:, None] + g, f, g


def transport_divergence(scores: Tensor, teacher: Tensor, epsilon: float) -> Tensor:
    """KL divergence of the plan of the student's scores from that of the teacher's, both (N, M).

    The potentials are optimal for the student's scores, so by the envelope theorem the gradient is that with them held
    fixed, (student's plan - teacher's plan) / epsilon, and nothing is unrolled.
    """
    with torch.no_grad():
        target = transport(teacher, epsilon)[0]
        student = transport(scores, epsilon)[0]
        value = (target.exp() * (target - student)).sum()
        slope = (student.exp() - target.exp()) / epsilon
    through = (slope * scores).sum()
    return value + through - through.detach()


def pseudo_captioned(rows: Rows, fit: Callable[[Rows, bool], Maps], epsilon: float) -> Maps:
    """The same closed form once more, each unpaired image with the texts that a transport plan of its scores gives it.

    Ours: SOTAlign's plan in place of captions. Unpaired images go to all texts that may be seen.
    """
    teacher = fit(rows, False)
    if not len(rows.more_x) or not len(rows.more_y):
        return teacher
    plan = transport(teacher[0](rows.more_x) @ teacher[1](rows.more_y).T, epsilon, 30)[0].softmax(1)
    start = int(rows.image.max()) + 1
    number = torch.arange(len(rows.more_x))
    captioned = replace(
        rows,
        x=torch.cat([rows.x, rows.more_x]),
        y=torch.cat([rows.y, plan @ rows.more_y]),
        image=torch.cat([rows.image, start + number]),
        text=torch.cat([rows.text, int(rows.text.max()) + 1 + number]),
        more_x=rows.more_x[:0],
        more_y=rows.more_y[:0],
    )
    return fit(captioned, False)


# Trained maps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Terms:
    """What is added to InfoNCE on pairs: weights of the terms, and the rows of STRUCTURE's."""

    structure: float = 0.0
    structure_unpaired: float = 0.0
    transport: float = 0.0
    epsilon: float = 0.05


def fit_trained(rows: Rows, terms: Terms, seed: int) -> Maps:
    """Linear maps of both sides, trained by InfoNCE from the maps of a linear teacher, which is CCA on the pairs.

    SOTAlign as its abstract has it: a linear teacher on few pairs, then refinement by a divergence between transport
    plans on unpaired features. Ours: the start from the teacher, InfoNCE, AdamW, and all values here.
    """
    generator = torch.Generator().manual_seed(seed)
    moments = moments_of(rows, False)
    first, second = cca(moments, SHRINK, 1.0, WIDTH)
    teacher = affine(moments.mean_x, first), affine(moments.mean_y, second)
    sides = []
    for matrix, mean, data in ((first, moments.mean_x, rows.x), (second, moments.mean_y, rows.y)):
        length = float(((data - mean.float()) @ matrix.float()).square().mean().sqrt())
        sides.append((mean.float(), torch.nn.Parameter((matrix / length).float())))
    logit_scale = torch.nn.Parameter(torch.tensor(float(np.log(10.0))))
    parameters = [sides[0][1], sides[1][1], logit_scale]
    optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)

    def embed(side: int, data: Tensor) -> Tensor:
        mean, matrix = sides[side]
        return F.normalize((data - mean) @ matrix, dim=-1)

    def draw(data: Tensor) -> Tensor:
        return data[torch.randperm(len(data), generator=generator)[:BATCH]]

    for _ in range(STEPS):
        chosen = torch.randperm(len(rows.x), generator=generator)[:BATCH]
        x, y, image, text = rows.x[chosen], rows.y[chosen], rows.image[chosen], rows.text[chosen]
        positive = (image[:, None] == image) | (text[:, None] == text)
        u, v = embed(0, x), embed(1, y)
        loss = info_nce(u, v, logit_scale.exp(), positive)
        if terms.structure:
            loss = loss + terms.structure * (structure_loss(x, u, 0.05) + structure_loss(y, v, 0.05)) / 2
        if terms.structure_unpaired:
            for side, data in enumerate((rows.all_x, rows.all_y)):
                seen = draw(data)
                loss = loss + terms.structure_unpaired * structure_loss(seen, embed(side, seen), 0.05) / 2
        if terms.transport:
            images, texts = draw(rows.all_x), draw(rows.all_y)
            scores = embed(0, images) @ embed(1, texts).T
            of_teacher = teacher[0](images) @ teacher[1](texts).T
            loss = loss + terms.transport * transport_divergence(scores, of_teacher, terms.epsilon)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            logit_scale.clamp_(np.log(2.0), np.log(1000.0))
    return tuple(  # type: ignore[return-value]
        affine(mean, matrix.detach()) for mean, matrix in sides
    )


# Rows -----------------------------------------------------------------------------------------------------------------

WORD = re.compile(r"[a-z]{3,}")
COMMON = frozenset({"and", "are", "for", "from", "has", "have", "its", "not", "that", "the", "which", "with"})


def words(text: str) -> set[str]:
    """Words of a text that may name a thing, in the singular as far as an s goes."""
    return {word.rstrip("s") for word in WORD.findall(text.lower())} - COMMON


def texts_of_training(
    texts: Mapping[str, str], partners: Sequence[tuple[str, str]], held_out: Collection[str]
) -> list[str]:
    """The ids of texts that have nothing to do with what is held out.

    A text is left out if it shares a word with a caption or a name that is held out, and so is whatever a task joins
    with such a text, by way of others too: the gloss of a word that is held out goes with it.

    Args:
        texts: by id.
        partners: pairs of ids that a task says belong together.
        held_out: captions and names of the validation and test families.
    """
    forbidden = set().union(*map(words, held_out)) if held_out else set()
    out = {key for key, text in texts.items() if words(text) & forbidden}
    grown = True
    while grown:
        more = {b for a, b in partners if a in out} | {a for a, b in partners if b in out}
        grown = not more <= out
        out |= more
    return [key for key in texts if key not in out]


@dataclass(frozen=True)
class World:
    """Features of all samples, and further rows."""

    pairs: CaptionPairs
    images: Mapping[str, Any]
    texts: Mapping[str, Any]
    text_of: Mapping[tuple[str, str], str]
    styles: tuple[np.ndarray, Tensor] | None  # concept of each drawing, its vector
    tasks: tuple[dict[str, str], list[tuple[str, str]], Any] | None
    names: Mapping[str, tuple[str, ...]]  # by concept: its split in each repeat

    @classmethod
    def read(cls, styles: str | None) -> "World":
        """Of the run in the working directory."""
        images = open_side("vit", ("vit",), DATASETS)
        texts = open_side("minilm", ("minilm",), DATASETS)
        pairs = read_caption_pairs(DATASETS, REPEATS)
        strings = {}
        for dataset in (*DATASETS, "text-tasks"):
            path = Path("data/index/pairs") / dataset / "texts.parquet"
            if path.is_file():
                table = pq.read_table(path, columns=["text_id", "text", "language"]).to_pylist()
                strings |= {(dataset, row["text_id"]): row["text"] for row in table if row["language"] == "en"}
        names = {row[0]: row[1:] for row in read_samples(("concept",), REPEATS)}
        drawn = None
        if styles is not None:
            store = FeatureStore.open(Path("data/features/pairs") / styles)
            labels = Path("data/index/pairs") / Path(styles).name / "labels.parquet"
            rows = pq.read_table(labels, columns=["image_id", "concept"]).to_pylist()
            rows = [row for row in rows if row["concept"] in names]
            ids = np.array([row["image_id"] for row in rows])
            usable = store.servable(ids)
            vectors = image_vector(read_images(store, ids[usable], "mean"), "concat")
            drawn = np.array([row["concept"] for row in rows])[usable], vectors
        tasks = None
        if (folder := Path("data/features/pairs/minilm/text-tasks")).is_dir():
            store = FeatureStore.open(folder)
            table = pq.read_table("data/index/pairs/text-tasks/tasks.parquet").to_pylist()
            joined = [(row["query"], row["document"]) for row in table if row["task"].endswith("search")]
            ids = [key for dataset, key in strings if dataset == "text-tasks"]
            tasks = {key: strings["text-tasks", key] for key in ids}, joined, store
        return cls(pairs, images, texts, strings, drawn, tasks, names)

    def vectors(self, pairs: CaptionPairs, side: str) -> Tensor:
        """Of the images or the captions of some pairs, row by row."""
        parts = torch.empty(0)
        for dataset in DATASETS:
            inside = np.flatnonzero(pairs.dataset == dataset)
            if not len(inside):
                continue
            if side == "image":
                part = image_vector(read_images(self.images[dataset], pairs.image_id[inside], "mean"), "concat")
            else:
                part = text_vector(read_texts(self.texts[dataset], pairs.text_id[inside]))
            parts = parts if parts.numel() else torch.empty(len(pairs), part.shape[1])
            parts[inside] = part
        return parts

    def held_out(self, repeat: int) -> list[str]:
        """Captions of the families that a repeat validates or tests on, and the names of their concepts."""
        mask = self.pairs.splits[:, repeat] != "train"
        keys = zip(self.pairs.dataset[mask], self.pairs.text_id[mask], strict=True)
        return [self.text_of[key] for key in keys] + [
            n for n, splits in self.names.items() if splits[repeat] != "train"
        ]

    def further(self, repeat: int) -> tuple[Tensor, Tensor]:
        """Vectors of images and of texts that no data set pairs, of training families alone."""
        x, y = torch.empty(0), torch.empty(0)
        if self.styles is not None:
            concepts, vectors = self.styles
            x = vectors[torch.from_numpy(np.array([self.names[c][repeat] == "train" for c in concepts]))]
        if self.tasks is not None:
            texts, partners, store = self.tasks
            kept = np.array(texts_of_training(texts, partners, self.held_out(repeat)))
            y = text_vector(read_texts(store, kept[store.servable(kept)]))
        return x, y

    def rows(self, repeat: int, size: int | None, rest: bool, further: bool) -> Rows:
        """`size` pairs of the train split, drawn by repeat, and unpaired rows: the rest of the split, further ones."""
        train = self.pairs.of(repeat, "train")
        order = np.random.default_rng(repeat).permutation(len(train))
        chosen = np.zeros(len(train), dtype=bool)
        chosen[order[:size]] = True
        given, left = train.where(chosen), train.where(~chosen)
        more_x, more_y = self.vectors(left, "image"), self.vectors(left, "text")
        x, y = self.vectors(given, "image"), self.vectors(given, "text")
        if not rest or not more_x.numel():
            more_x, more_y = x[:0], y[:0]
        if further:
            others = self.further(repeat)
            more_x, more_y = (
                torch.cat([a, b]) if b.numel() else a for a, b in zip((more_x, more_y), others, strict=True)
            )
        numbers = [
            torch.from_numpy(np.unique(ids.astype(str), return_inverse=True)[1])
            for ids in (given.image_id, given.text_id)
        ]
        return Rows(x, y, *numbers, more_x, more_y)


# Measuring ------------------------------------------------------------------------------------------------------------


@dataclass
class Answers:
    """What a row answered on all queries, in one order for all rows."""

    hits: np.ndarray
    chance: np.ndarray
    families: np.ndarray
    groups: np.ndarray
    repeat: np.ndarray
    seconds: float


Method = Callable[[Rows, int], Maps]
GRID = [Terms(transport=w, epsilon=e) for w, e in ((1.0, 0.05),)]
METHODS: dict[str, tuple[str, Method]] = {  # by name: the name of the same without unpaired rows, and how it is fitted
    "CCA": ("CCA", lambda rows, _: fit_cca(rows, False)),
    "CCA, both sides' statistics": ("CCA", lambda rows, _: fit_cca(rows, True)),
    "kernel ridge": ("kernel ridge", lambda rows, _: fit_kernel(rows, False)),
    "kernel ridge, means and bandwidth": ("kernel ridge", lambda rows, _: fit_kernel(rows, True)),
    "kernel ridge, covariance of features": ("kernel ridge", lambda rows, _: fit_kernel_covariance(rows, True)),
    "default": ("default", lambda rows, _: fit_default(rows, False)),
    "default, both sides' statistics": ("default", lambda rows, _: fit_default(rows, True)),
    "default, captions by transport": ("default", lambda rows, _: pseudo_captioned(rows, fit_default, 0.1)),
    "trained": ("trained", lambda rows, seed: fit_trained(rows, Terms(), seed)),
    "trained, STRUCTURE on pairs": ("trained", lambda rows, seed: fit_trained(rows, Terms(structure=1.0), seed)),
    "trained, STRUCTURE on all rows": (
        "trained", lambda rows, seed: fit_trained(rows, Terms(structure_unpaired=1.0), seed),
    ),
    **{
        f"SOTAlign, weight {terms.transport:g}, epsilon {terms.epsilon:g}": (
            "trained", lambda rows, seed, terms=terms: fit_trained(rows, terms, seed),
        )
        for terms in GRID
    },
}  # fmt: skip
PLAIN = {base for base, _ in METHODS.values()} | {"trained, STRUCTURE on pairs"}
FURTHER = {"default, captions by transport"}  # of closed forms, those that are worth further rows as well
Key = tuple[str, str, str]  # method, number of pairs, unpaired rows


def answers(world: World, method: Method, given: Sequence[Rows]) -> Answers:
    """Fit in every repeat and let the validation pairs be answered."""
    parts: list[tuple[np.ndarray, ...]] = []
    started = time.perf_counter()
    heads = [method(rows, repeat) for repeat, rows in enumerate(given)]
    seconds = (time.perf_counter() - started) / REPEATS
    for repeat, (images, texts) in enumerate(heads):
        for dataset, items in asked(world.pairs, repeat):
            with torch.no_grad():
                u = images(image_vector(read_images(world.images[dataset], items.images, "mean"), "concat")).numpy()
                v = texts(text_vector(read_texts(world.texts[dataset], items.texts))).numpy()
            for way, ranks in items.ranks(u, v).items():
                families, counts, candidates = items.side(way)
                group = np.full(len(ranks), f"{dataset} {way}")
                chance = chance_at(counts, candidates, 1)
                parts.append((hits_at(ranks, 1), chance, families, group, np.full(len(ranks), repeat)))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Answers(*columns, seconds)


def asked(pairs: CaptionPairs, repeat: int) -> Iterator[tuple[str, RetrievalSet]]:
    """The validation pairs of a repeat, each data set by itself."""
    for dataset in DATASETS:
        yield dataset, RetrievalSet.of(pairs.where(pairs.dataset == dataset).of(repeat, "validation"))


def table(found: Mapping[Key, Answers]) -> list[dict[str, Any]]:
    """The figures of every row, and its difference from the same method without unpaired rows."""
    first = next(iter(found.values()))
    boot = FamilyBootstrap(first.families, DRAWS, 0, first.groups, first.repeat)
    rows = []
    for (name, size, unpaired), one in found.items():
        by_repeat = [
            statistics.fmean(one.hits[(one.repeat == r) & (one.groups == g)].mean() for g in np.unique(one.groups))
            for r in range(REPEATS)
        ]
        row = {
            "method": name, "pairs": size, "unpaired": unpaired, "recall@1": boot.value(one.hits),
            "ci": boot.interval(one.hits), "by_repeat": by_repeat, "chance": boot.value(one.chance),
            "fit_seconds": one.seconds,
        }  # fmt: skip
        base = found.get((METHODS[name][0], size, "none"))
        if base is not None and base is not one:
            compared = boot.compare(one.hits, base.hits)
            row |= {"versus": METHODS[name][0], "difference": compared.difference, "difference_ci": compared.interval}
            row |= {"p": compared.p, "excludes_zero": compared.excludes_zero}
        rows.append(row)
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table of the documentation: a line for each method and kind of unpaired rows, a column for each size."""
    sizes = list(dict.fromkeys(row["pairs"] for row in rows))
    lines = [f"| method | unpaired rows | {' | '.join(sizes)} |", "|---|---" + "|---" * len(sizes) + "|"]
    cells = {(row["method"], row["unpaired"], row["pairs"]): row for row in rows}
    for name, unpaired in dict.fromkeys((row["method"], row["unpaired"]) for row in rows):
        line = []
        for size in sizes:
            row = cells.get((name, unpaired, size))
            if row is None:
                line.append("")
            elif "difference" in row:
                low, high = row["difference_ci"]
                mark = "**" if row["excludes_zero"] else ""
                line.append(f"{mark}{row['recall@1']:.3f}{mark} ({low:+.3f}, {high:+.3f})")
            else:
                line.append(f"{row['recall@1']:.3f}")
        lines.append(f"| {name} | {unpaired} | {' | '.join(line)} |")
    return "\n".join(lines)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder data of a run")
    parser.add_argument("--styles", help="view/dataset of a store of drawings in further styles")
    parser.add_argument("--part", choices=("closed", "trained"), help="closed forms or trained maps alone")
    parser.add_argument("--sizes", nargs="*", default=[str(size) for size in SIZES], help="numbers of pairs; None: all")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    out = given.out.absolute()
    os.chdir(given.data.absolute().parent)
    world = World.read(given.styles)
    counts = [{"images": len(x), "texts": len(y)} for x, y in map(world.further, range(REPEATS))]
    found: dict[Key, Answers] = {}
    for size in [size for size in SIZES if str(size) in given.sizes]:
        train = min(len(world.pairs.of(repeat, "train")) for repeat in range(REPEATS))
        called = "all" if size is None else f"{size:,}"
        assert size is None or size < train
        kinds = {"none": (False, False), "rest": (True, False), "rest and further": (True, True)}
        kinds = {"none": (False, False), "further": (False, True)} if size is None else kinds
        for unpaired, (rest, further) in kinds.items():
            rows = [world.rows(repeat, size, rest, further) for repeat in range(REPEATS)]
            for name, (base, method) in METHODS.items():
                if given.part and (given.part == "trained") != (base == "trained"):
                    continue
                if (unpaired == "none") != (name in PLAIN) or (unpaired == "rest" and base == "trained"):
                    continue
                if "further" in unpaired and base != "trained" and name not in FURTHER:
                    continue
                found[name, called, unpaired] = one = answers(world, method, rows)
                print(f"{called:6} {unpaired:18} {name:44} {one.hits.mean():.4f}  {one.seconds:.1f} s", flush=True)
            content = {
                "machine": describe_machine(), "split": "validation", "further_rows_by_repeat": counts,
                "rows": table(found),
            }  # fmt: skip
            write_json(content, out)
    print(f"{markdown(table(found))}\nchance {table(found)[0]['chance']:.4f}; {out}")


if __name__ == "__main__":
    main()
