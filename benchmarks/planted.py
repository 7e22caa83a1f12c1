"""Are copies found? Evaluation pictures and pictures of the pool, changed in four ways, planted among others.

    python benchmarks/planted.py --root PROJECT            # a project whose default DAG has run; some minutes

Pictures of the first split's test part stand for an evaluation set. Each of some of them is planted in the pool of
train pictures in four forms: resized to 150 px, encoded again as JPEG of quality 40, cropped by 10 % anywhere and
recoloured (saturation 0.4, brightness 1.15); so are some train pictures, as near duplicates. View `vit` encodes them.
Told are, at several thresholds, the share of planted ones that is found, by the right picture, and false positives: of
other pool pictures those that are said to copy an evaluation picture, and pairs of different pictures of the pool that
are said to be copies. In this pool one thing is drawn in several styles and colours, so some of them are alike: the
share of false positives whose pair is of one concept is told.

Prints a table and writes benchmarks/results/planted.json.
"""

import argparse
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image, ImageEnhance

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.curation.duplicates import near_pairs  # noqa: E402
from pipeline.curation.leaks import leaks_by_features, leaks_by_hash  # noqa: E402
from pipeline.curation.perceptual import copied_pairs, cut_hashes, perceptual_hash  # noqa: E402
from pipeline.curation.vectors import PoolVectors  # noqa: E402
from pipeline.datasets.decode import decode_rgb, read_bytes  # noqa: E402
from pipeline.features.reader import FeatureStore  # noqa: E402
from pipeline.inference import Aligner  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "planted.json"
DATASETS, VIEW = ("emoji", "stamps"), "vit"
COSINES, BITS = (0.9, 0.95, 0.97, 0.98, 0.99), (2, 4, 6, 8, 10)


def jpeg(picture: Image.Image) -> Image.Image:
    """Encoded again."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=40)
    return Image.open(io.BytesIO(stream.getvalue())).convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    """Less 10 % of its width and height, anywhere; where is drawn from its pixels."""
    width, height = picture.size
    x, y = width // 10, height // 10
    generator = np.random.default_rng(perceptual_hash(picture))
    left, top = (int(generator.integers(most + 1)) for most in (x, y))
    return picture.crop((left, top, left + width - x, top + height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda picture: picture.resize((150, 150), Image.Resampling.BICUBIC),
    "re-encoded": jpeg,
    "cropped": cropped,
    "recoloured": lambda picture: ImageEnhance.Brightness(ImageEnhance.Color(picture).enhance(0.4)).enhance(1.15),
}


class InMemory:
    """Rows as a store serves them."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape, self.dtype = values, values.shape, values.dtype

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """See `Rows`."""
        return np.take(self._values, rows, axis=0, out=out)

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """See `Rows`."""
        return self.take(np.arange(start, stop), out)


def pictures(root: Path, rows: list[dict[str, Any]]) -> list[Image.Image]:
    """As the encoders see them."""
    known: dict[str, dict[str, dict[str, Any]]] = {}
    out = []
    for row in rows:
        folder = root / "data/index/pairs" / row["dataset"]
        if row["dataset"] not in known:
            table = pq.read_table(folder / "images.parquet", columns=["image_id", "path", "offset", "length"])
            known[row["dataset"]] = {one["image_id"]: one for one in table.to_pylist()}
        out.append(decode_rgb(read_bytes(known[row["dataset"]][row["image_id"]], folder)))
    return out


def stored(root: Path, rows: list[dict[str, Any]]) -> np.ndarray:
    """Features (n, D) of stored pictures."""
    out = np.empty((len(rows), 0), np.float32)
    for name in DATASETS:
        store = FeatureStore.open(root / "data/features/pairs" / VIEW / name)
        here = [place for place, row in enumerate(rows) if row["dataset"] == name]
        found = store.array("cls").take(store.rows([rows[place]["image_id"] for place in here]))[:, -1]
        if not out.shape[1]:
            out = np.empty((len(rows), found.shape[1]), np.float32)
        out[here] = found
    return out


def encoded(aligner: Aligner, images: list[Image.Image]) -> np.ndarray:
    """Features (n, D) of pictures."""
    batches = aligner._encoders.image_features(images, 16)
    return np.concatenate([batch["cls"][:, -1] for batch in batches]).astype(np.float32)


def cuts_of(images: list[Image.Image]) -> np.ndarray:
    """Perceptual hashes (n, 10) uint64 of pictures and cuts of them."""
    return np.array([cut_hashes(one) for one in images], np.uint64)


def cosine_of(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Of each row (n,) with the one beside it."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.einsum("ij,ij->i", one, other) / lengths)


def evaluation_copies(
    pool: np.ndarray, pool_hashes: np.ndarray, kept_out: np.ndarray, kept_hashes: np.ndarray,
    planted: dict[str, np.ndarray], hashes: dict[str, np.ndarray], source: np.ndarray,
    alike: Callable[[int, int], bool],
) -> list[dict[str, Any]]:  # fmt: skip
    """Recall of planted evaluation pictures by the way they were changed, and false positives among the others."""
    everything = np.concatenate([pool, *planted.values()])
    unit = kept_out / np.linalg.norm(kept_out, axis=1, keepdims=True)
    all_hashes = np.concatenate([pool_hashes, *hashes.values()])
    out = []
    for measure, values in (
        ("cosine", COSINES),
        ("hash", BITS),
        ("either", tuple(zip(COSINES[::-1], BITS, strict=True))),
    ):
        for value in values:
            cosine, bits = value if isinstance(value, tuple) else (value, value)
            of = np.full(len(everything), -1)
            if measure != "hash":
                of = leaks_by_features(PoolVectors({"pool": InMemory(everything)}), unit, float(cosine)).of
            if measure != "cosine":
                by_hash = leaks_by_hash(all_hashes[:, 0], kept_hashes, int(bits)).of
                of = np.where(of >= 0, of, by_hash)
            found = {}
            for number, name in enumerate(planted):
                part = of[len(pool) + number * len(source) : len(pool) + (number + 1) * len(source)]
                found[name] = {"recall": float((part >= 0).mean()), "named_right": float((part == source).mean())}
            false = np.flatnonzero(of[: len(pool)] >= 0)
            same = [alike(int(row), int(of[row])) for row in false]
            out.append({"measure": measure, "value": value, "found": found, "false": len(false), "of": len(pool),
                        "false_of_one_concept": int(np.sum(same))})  # fmt: skip
    return out


def pool_copies(
    pool: np.ndarray, pool_hashes: np.ndarray, planted: dict[str, np.ndarray], hashes: dict[str, np.ndarray],
    source: np.ndarray, alike: Callable[[int, int], bool],
) -> list[dict[str, Any]]:  # fmt: skip
    """Recall of planted copies of pool pictures as pairs, and pairs of different pictures."""
    everything, all_hashes = np.concatenate([pool, *planted.values()]), np.concatenate([pool_hashes, *hashes.values()])
    out = []
    for measure, values in (("cosine", COSINES), ("hash", BITS)):
        for value in values:
            if measure == "cosine":
                one, other = near_pairs(PoolVectors({"pool": InMemory(everything)}), float(value))
            else:
                one, other = copied_pairs(all_hashes, int(value))
            pairs = set(zip(one.tolist(), other.tolist(), strict=True))
            found = {}
            for number, name in enumerate(planted):
                first = len(pool) + number * len(source)
                found[name] = {"recall": float(np.mean([(int(s), first + i) in pairs for i, s in enumerate(source)]))}
            false = [(a, b) for a, b in pairs if b < len(pool)]
            out.append({"measure": measure, "value": value, "found": found, "false": len(false),
                        "of": len(pool) * (len(pool) - 1) // 2,
                        "false_of_one_concept": sum(alike(a, b) for a, b in false)})  # fmt: skip
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """A row for each threshold, in Markdown."""
    lines = [f"| by | at | {' | '.join(CHANGES)} | false | of which of one concept |", "|---" * 8 + "|"]
    for row in rows:
        shares = [f"{100 * row['found'][name]['recall']:.0f} %" for name in CHANGES]
        value = " or ".join(map(str, row["value"])) if isinstance(row["value"], (tuple, list)) else row["value"]
        lines.append(
            f"| {row['measure']} | {value} | {' | '.join(shares)} | {row['false']} | {row['false_of_one_concept']} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Plant, look, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="a project whose default DAG has run")
    parser.add_argument("--planted", type=int, default=100, help="pictures, each in every form")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    root, out, generator = given.root.resolve(), given.out.resolve(), np.random.default_rng(0)
    samples = [
        row for row in pq.read_table(root / "data/splits/samples.parquet").to_pylist() if row["dataset"] in DATASETS
    ]
    pool, kept_out = ([row for row in samples if row["split_0"] == split] for split in ("train", "test"))
    os.chdir(root)  # where checkpoints are looked for
    aligner = Aligner.from_pretrained(root / "data/models/default", device="cpu")
    features, kept_features = stored(root, pool), stored(root, kept_out)
    pool_hashes, kept_hashes = cuts_of(pictures(root, pool)), cuts_of(pictures(root, kept_out))
    found: dict[str, Any] = {"pool": len(pool), "evaluation": len(kept_out), "planted": given.planted, "view": VIEW}
    for kind, rows in (("evaluation_pictures", kept_out), ("near_duplicates", pool)):
        source = np.sort(generator.permutation(len(rows))[: given.planted])
        originals = pictures(root, [rows[place] for place in source.tolist()])
        changed = {name: [change(one) for one in originals] for name, change in CHANGES.items()}
        planted = {name: encoded(aligner, images) for name, images in changed.items()}
        hashes = {name: cuts_of(images) for name, images in changed.items()}
        true = features if kind == "near_duplicates" else kept_features
        cosines = {name: cosine_of(true[source], values) for name, values in planted.items()}
        spread = {name: np.quantile(values, [0.05, 0.5]).round(4).tolist() for name, values in cosines.items()}
        if kind == "near_duplicates":

            def alike(one: int, other: int) -> bool:
                return bool(pool[one]["concept"] == pool[other]["concept"])

            made = pool_copies(features, pool_hashes, planted, hashes, source, alike)
        else:

            def alike(one: int, other: int) -> bool:
                return bool(pool[one]["concept"] == kept_out[other]["concept"])

            made = evaluation_copies(features, pool_hashes, kept_features, kept_hashes, planted, hashes, source, alike)
        found[kind] = {"cosine_5_and_50_percent": spread, "thresholds": made}
        print(f"\n{kind}\n\n{table(made)}")
    out.write_text(json.dumps(found, indent=1) + "\n")
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
