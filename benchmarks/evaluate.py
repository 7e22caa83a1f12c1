"""Evaluation at the field's sizes: time and memory, beside CLIP_benchmark's functions on the same arrays.

    python benchmarks/evaluate.py [--small]      # needs the development environment (clip-benchmark, torchmetrics)

Synthetic unit vectors of width 512, of the size of ImageNet (50,000 images, 1000 classes, 80 templates), COCO 5k
(25,000 captions), ten languages of Babel-ImageNet and XTD10 (5,000 images and 1000 classes, 1,000 captioned images
each), a tenth of ADE20K's validation (200 pictures of 224 x 224 pixels, 150 classes) and 1,000 long captions at six
lengths. CLIP_benchmark 1.6 has no segmentation: there interpolation, argmax and torchmetrics stand beside ours.

Each side of each task runs in a process of its own, the sides in turn, three rounds each; seconds are medians. Memory
is the most by which anonymous memory rises above what inputs and imports take, at half and at full size. Both sides
must give the same figures, or the benchmark stops. Prints a table and writes benchmarks/results/evaluate.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.features.anonymous import watched  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "evaluate.json"
WIDTH, BATCH, TOP = 512, 64, (1, 5, 10)
TASKS = ("classifier", "classification", "retrieval", "multilingual", "segmentation", "long text")
SIDES = ("ours", "theirs")
ROUNDS = 3
Figures = dict[str, float]


def unit(generator: np.random.Generator, rows: int) -> np.ndarray:
    vectors = generator.standard_normal((rows, WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def near(generator: np.random.Generator, vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Unit vectors that lean towards given rows, so that scores lie between chance and 1."""
    drawn = unit(generator, len(rows))
    drawn += 0.15 * vectors[rows]
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return drawn


class Rows:
    """CLIP_benchmark's model and tokenizer for embeddings that exist: a text is the number of its row."""

    def __init__(self, texts: np.ndarray) -> None:
        import torch

        self._texts = torch.from_numpy(texts)

    def encode_image(self, images: Any) -> Any:
        return images

    def encode_text(self, rows: Any) -> Any:
        return self._texts[rows]


def tokenizer(texts: list[str]) -> Any:
    import torch

    return torch.tensor([int(text) for text in texts])


class Batches:
    """Images with what belongs to each, as CLIP_benchmark's data loaders give them."""

    def __init__(self, images: np.ndarray, belongs: Any, classes: int = 0) -> None:
        self._images, self._belongs = images, belongs
        self.dataset = SimpleNamespace(classes=[str(number) for number in range(classes)])

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        import torch

        for start in range(0, len(self._images), BATCH):
            part = self._belongs[start : start + BATCH]
            images = torch.from_numpy(self._images[start : start + BATCH])
            yield images, torch.from_numpy(part) if isinstance(part, np.ndarray) else part


def ours_classifier(texts: np.ndarray, templates: int) -> np.ndarray:
    from pipeline.alignment.zero_shot import class_vectors

    return class_vectors(texts, np.repeat(np.arange(len(texts) // templates), templates))


def ours_classification(images: np.ndarray, classifier: np.ndarray, right: np.ndarray) -> Figures:
    from pipeline.evaluation.metrics import first_hit_ranks, hits_at

    ranks = first_hit_ranks(images, classifier, np.stack([np.arange(len(images)), right], axis=1))
    hits = hits_at(ranks, 1)
    count = np.bincount(right, minlength=len(classifier))
    per_class = np.bincount(right, weights=hits, minlength=len(classifier))[count > 0] / count[count > 0]
    return {"acc1": hits.mean(), "acc5": hits_at(ranks, 5).mean(), "mean_per_class_recall": per_class.mean()}


def ours_retrieval(images: np.ndarray, texts: np.ndarray, owners: np.ndarray) -> Figures:
    from pipeline.evaluation.metrics import first_hit_ranks, hits_at

    pairs = np.stack([owners, np.arange(len(owners))], axis=1)
    text, image = first_hit_ranks(images, texts, pairs), first_hit_ranks(texts, images, pairs[:, ::-1])
    found = {f"text_retrieval_recall@{k}": hits_at(text, k).mean() for k in TOP}
    return found | {f"image_retrieval_recall@{k}": hits_at(image, k).mean() for k in TOP}


def theirs() -> Any:
    from pipeline.interop.clip_benchmark import benchmark_command

    return benchmark_command()


def theirs_classification(images: np.ndarray, texts: np.ndarray, templates: int, right: np.ndarray) -> Figures:
    prompts = prompts_of(len(texts), templates)
    metrics = theirs().zeroshot_classification
    batches = Batches(images, right, len(prompts))
    return dict(metrics.evaluate(Rows(texts), batches, tokenizer, list(prompts), prompts, "cpu", amp=False))


def theirs_retrieval(images: np.ndarray, texts: np.ndarray, owners: np.ndarray) -> Figures:
    named: list[list[str]] = [[] for _ in images]
    for text, image in enumerate(owners.tolist()):
        named[image].append(str(text))
    metrics = theirs().zeroshot_retrieval
    batches = Batches(images, named)
    return dict(metrics.evaluate(Rows(texts), batches, tokenizer, "cpu", amp=False, recall_k_list=list(TOP)))


def prompts_of(texts: int, templates: int) -> dict[str, list[str]]:
    return {str(c): [str(c * templates + t) for t in range(templates)] for c in range(texts // templates)}


def classifier(side: str, share: float) -> Callable[[], Figures]:
    """1000 classes from 80 templates each."""
    generator, classes = np.random.default_rng(0), max(10, int(1000 * share))
    texts = unit(generator, classes * 80)
    if side == "ours":
        return lambda: {"trace": float(np.abs(ours_classifier(texts, 80)).sum())}
    metrics, prompts = theirs().zeroshot_classification, prompts_of(len(texts), 80)

    def run() -> Figures:
        found = metrics.zero_shot_classifier(Rows(texts), tokenizer, list(prompts), prompts, "cpu", amp=False)
        return {"trace": float(found.abs().sum())}

    return run


def classification(side: str, share: float) -> Callable[[], Figures]:
    """50,000 images, 1000 classes, the classifier made from 80 templates on the way."""
    generator, images = np.random.default_rng(0), int(50_000 * share)
    texts = unit(generator, 80_000)
    right = generator.integers(0, 1000, images)
    found = near(generator, ours_classifier(texts, 80), right)
    if side == "theirs":
        return lambda: theirs_classification(found, texts, 80, right)
    return lambda: ours_classification(found, ours_classifier(texts, 80), right)


def retrieval(side: str, share: float) -> Callable[[], Figures]:
    """5,000 images and five captions of each, both ways."""
    generator, count = np.random.default_rng(0), int(5000 * share)
    images, owners = unit(generator, count), np.repeat(np.arange(count), 5)
    texts = near(generator, images, owners)
    return lambda: (ours_retrieval if side == "ours" else theirs_retrieval)(images, texts, owners)


def multilingual(side: str, share: float) -> Callable[[], Figures]:
    """Ten languages: classification with one prompt a class, and retrieval of 1,000 images with one caption."""
    generator, images, pictures = np.random.default_rng(0), int(5000 * share), int(1000 * share)
    languages = [unit(generator, 1000) for _ in range(10)]
    right = generator.integers(0, 1000, images)
    found = near(generator, languages[0], right)
    seen, owners = unit(generator, pictures), np.arange(pictures)
    captions = [near(generator, seen, owners) for _ in range(10)]

    def run() -> Figures:
        figures: Figures = {}
        for number, (names, texts) in enumerate(zip(languages, captions, strict=True)):
            if side == "ours":
                measured = ours_classification(found, ours_classifier(names, 1), right)
                measured |= ours_retrieval(seen, texts, owners)
            else:
                measured = theirs_classification(found, names, 1, right) | theirs_retrieval(seen, texts, owners)
            figures |= {f"{name} {number}": value for name, value in measured.items()}
        return figures

    return run


def long_text(side: str, share: float) -> Callable[[], Figures]:
    """1,000 pictures against captions cut at six lengths, both ways."""
    generator, count = np.random.default_rng(0), int(1000 * share)
    images, owners = unit(generator, count), np.arange(count)
    cut = [near(generator, images, owners) for _ in range(6)]
    run = ours_retrieval if side == "ours" else theirs_retrieval
    return lambda: {
        f"{name} {number}": value
        for number, texts in enumerate(cut)
        for name, value in run(images, texts, owners).items()
    }


def segmentation(side: str, share: float) -> Callable[[], Figures]:
    """Pictures of 224 x 224 pixels, 16 x 16 patches, 150 classes: interpolate scores, take the highest, mean IoU."""
    generator, pictures = np.random.default_rng(0), int(200 * share)
    size, grid, classes = 224, 16, 150
    names = unit(generator, classes)
    coarse = generator.integers(0, classes, (pictures, 4, 4))
    right = coarse.repeat(grid // 4, axis=1).repeat(grid // 4, axis=2)
    patches = near(generator, names, right.reshape(-1))
    truth = right.repeat(size // grid, axis=1).repeat(size // grid, axis=2)

    def mine() -> Figures:
        from pipeline.evaluation.overlap import count_overlap, mean_iou
        from pipeline.evaluation.pixels import best_class, locate

        rows, columns = (axis.ravel() for axis in np.mgrid[:size, :size])
        cells = locate(np.zeros(size * size, dtype=np.int64), rows, columns, size, (grid, grid), 1.0)
        families = np.zeros(size * size, dtype=np.int64)
        total = [np.zeros((1, classes)) for _ in range(3)]
        for picture in range(pictures):
            own = patches[picture * grid * grid : (picture + 1) * grid * grid]
            predicted = best_class(own @ names.T, cells)
            counted = count_overlap(families, truth[picture].ravel(), predicted, (1, classes))
            total = [before + now for before, now in zip(total, counted, strict=True)]
        return {"mIoU": float(mean_iou(*total)[0])}

    def public() -> Figures:
        import torch
        from torch.nn import functional as F

        from pipeline.torchvision_fix import ensure_torchvision

        ensure_torchvision()
        from torchmetrics.classification import MulticlassJaccardIndex

        metric = MulticlassJaccardIndex(num_classes=classes, average="none")
        for picture in range(pictures):
            own = patches[picture * grid * grid : (picture + 1) * grid * grid]
            scores = torch.from_numpy(own @ names.T).T.reshape(1, classes, grid, grid)
            predicted = F.interpolate(scores, (size, size), mode="bilinear", align_corners=False).argmax(dim=1)
            metric.update(predicted, torch.from_numpy(truth[picture][None]))
        return {"mIoU": float(metric.compute()[torch.from_numpy(np.unique(right))].mean())}  # of classes that are there

    return mine if side == "ours" else public


MAKERS = dict(zip(TASKS, (classifier, classification, retrieval, multilingual, segmentation, long_text), strict=True))


def one(side: str, task: str, share: float) -> dict[str, Any]:
    """One side of one task in this process: seconds, bytes by which anonymous memory rose, figures."""
    run = MAKERS[task](side, share)
    MAKERS[task](side, 0.02)()  # imports and first calls
    with watched() as risen:
        started = time.perf_counter()
        figures = run()
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "bytes": max(risen), "figures": {k: float(v) for k, v in figures.items()}}


def spawn(side: str, task: str, share: float) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", side, task, str(share)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{task}, {side}: {done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(task: str, full: float) -> dict[str, Any]:
    """Both sides of one task, in turn."""
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(ROUNDS):
        for side in SIDES:
            runs[side].append(spawn(side, task, full))
    for name, value in runs["ours"][0]["figures"].items():
        other = runs["theirs"][0]["figures"][name]
        if abs(value - other) > 1e-4 * max(1.0, abs(value)):
            raise SystemExit(f"{task}: {name} is {value} here and {other} there")
    found: dict[str, Any] = {}
    for side in SIDES:
        found[side] = {
            "seconds": [run["seconds"] for run in runs[side]],
            "bytes": statistics.median(run["bytes"] for run in runs[side]),
            "bytes_at_half_size": spawn(side, task, full / 2)["bytes"],
        }
    medians = [statistics.median(found[side]["seconds"]) for side in reversed(SIDES)]
    found["times_faster"] = medians[0] / medians[1]
    figures = runs["ours"][0]["figures"]
    found["figures"] = figures if len(figures) < 10 else {"of both sides, equal": float(len(figures))}
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the size; nothing is written to results/")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        side, task, share = given.one
        print(json.dumps(one(side, task, float(share))))
        return
    from pipeline.accounting.machine import describe_machine

    results = {}
    print(f"{'':16}{'seconds':>30}{'times':>8}{'peak MB, half and full size':>40}")
    print(f"{'':16}{'ours':>15}{'theirs':>15}{'faster':>8}{'ours':>20}{'theirs':>20}")
    for task in TASKS:
        found = results[task] = measure(task, 0.1 if given.small else 1.0)
        seconds = [f"{statistics.median(found[side]['seconds']):.2f}" for side in SIDES]
        peaks = [f"{found[s]['bytes_at_half_size'] / 1e6:.0f}, {found[s]['bytes'] / 1e6:.0f}" for s in SIDES]
        print(f"{task:16}{seconds[0]:>15}{seconds[1]:>15}{found['times_faster']:>8.1f}{peaks[0]:>20}{peaks[1]:>20}")
    if not given.small:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps({"machine": describe_machine(), "tasks": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
