"""Train, validation and test by concept family, jointly over all data sets: held out means held out everywhere."""

import hashlib
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import SplitsParams
from pipeline.datasets.development import COLUMN, development_families
from pipeline.datasets.families import Concept, find_families
from pipeline.datasets.samples import SPLITS
from pipeline.datasets.tables import JOINT_PAIRS, SAMPLES, read_table, write_table
from pipeline.errors import DataError
from pipeline.files import read_object, write_json

log = logging.getLogger(__name__)

HELD_OUT = ("test", "validation")  # in the order in which they are filled, and in which they win a conflict


def build_splits(index_folders: Mapping[str, Path], params: SplitsParams, seed: int, out: Path) -> dict[str, Any]:
    """Write samples.parquet, pairs.parquet and summary.json into `out`; returns the summary.

    Repeat r is drawn with seed `seed * repeats + r`. A family is in one split. Where a data set has its own split,
    that is used; a family that it puts on both sides goes whole to the held-out side, and the summary counts the rows.

    Families of the share `development` are the same in every repeat and are never in a test split; of a data set's own
    split, families that it tests are none of them.

    A data set that puts most of its families on both sides is split by picture, as data for classification are, and
    keeps that split: see `follow_own_split`. Concepts that it trains on are held out in no other data set that has no
    split of its own.

    A data set for transfer, according to its about.json, is exempt: each of its concepts is its own family, and its
    images are in the data set's own split, or in test, in every repeat. That is the usual zero-shot evaluation, on
    classes that training may have seen, but not on pictures: one that a repeat trains on is in train there.

    Args:
        index_folders: data set name -> its index.
        params: shares of development, validation and test, by images of every data set; the largest family to hold out.
        seed: the seed of the project.
        out: the folder to write.

    Raises:
        DataError: an index is missing, no data set holds an image, or a split would be empty.
    """
    about = {dataset: _about(folder) for dataset, folder in index_folders.items()}
    transfer = [dataset for dataset in index_folders if about[dataset].get("transfer", False)]
    trained = {dataset: folder for dataset, folder in index_folders.items() if dataset not in transfer}
    samples, pairs, concepts, unavailable = _read(trained, about)
    transferred = list(_transferred({dataset: index_folders[dataset] for dataset in transfer}, about))
    if not samples and not transferred:
        raise DataError(f"No data set holds an image (looked at: {', '.join(index_folders) or 'none'}). Run: dvc repro")
    families = find_families(concepts)
    sizes = Counter(families.values())
    for row in samples:
        row["family"] = families[row["concept"]]
    too_large = {family for family, size in sizes.items() if size > max(1.0, params.largest_family * len(concepts))}
    by_picture = split_by_picture(samples)
    own = [row for row in samples if row["dataset"] in by_picture]
    others = [row for row in samples if row["dataset"] not in by_picture]
    learnt = {row["family"] for row in own if row["split"] in (None, "train")}
    given, moved = _given(others)
    fixed = dict.fromkeys((*too_large, *sorted(learnt)), "train") | given
    untested = development_families(others, fixed, {row["family"] for row in own}, params.development)
    for row in samples:
        row[COLUMN] = row["family"] in untested
    for repeat in range(params.repeats if samples else 0):
        drawn = seed * params.repeats + repeat
        assigned = assign(others, fixed, params, drawn, untested)
        followed = follow_own_split(own, params, drawn)
        for row in samples:
            own_split = followed.get((row["dataset"], row["image_id"]))
            row[f"split_{repeat}"] = own_split or assigned[row["family"]]
        hold_out_everywhere(own, others, f"split_{repeat}")
        counts = Counter(row[f"split_{repeat}"] for row in samples)
        if empty := [split for split in SPLITS if not counts[split]]:
            raise DataError(
                f"Repeat {repeat} has nothing in {' and '.join(empty)}: {len(samples)} images fall into "
                f"{len(sizes)} families, of which {len(fixed)} are fixed and {len(untested)} are for development. Add "
                "data, raise splits.validation and splits.test, raise splits.largest_family, or lower "
                "splits.development."
            )
    shares = _shares(samples, params.repeats)
    trained_on = _trained_on(samples, params.repeats)
    shared: Counter[str] = Counter()
    for row, pair_rows in transferred:
        splits = {f"split_{repeat}": row["split"] or "test" for repeat in range(params.repeats)}
        seen = trained_on.get(row["image_id"], set()) if "test" in splits.values() else set()
        shared[row["dataset"]] += bool(seen)
        samples.append(row | {COLUMN: False} | splits | dict.fromkeys(seen, "train"))
        pairs += pair_rows
    if moved:
        log.warning("warning: %d rows left the split of their data set, because their family is held out", moved)
    for dataset, number in sorted((+shared).items()):
        log.warning("warning: %d pictures of %s are trained on in some repeat, and not tested there", number, dataset)
    schema = pa.schema([*SAMPLES, *((f"split_{repeat}", pa.string()) for repeat in range(params.repeats))])
    summary = {
        "concepts": len(concepts),
        "families": len(sizes),
        "largest": [{"family": family, "concepts": size} for family, size in _largest(sizes, 20)],
        "train_only": sorted(too_large - set(given)),
        "development": {
            "families": len(untested),
            "images": dict(sorted(Counter(row["dataset"] for row in samples if row[COLUMN]).items())),
        },
        "unavailable": unavailable,
        "moved_rows": moved,
        "shares": shares,
        "transfer": sorted(transfer),
        "by_picture": sorted(by_picture),
    }
    if +shared:
        summary["trained_on"] = dict(sorted((+shared).items()))
    write_table(pa.Table.from_pylist(samples, schema=schema), out / "samples.parquet")
    write_table(pa.Table.from_pylist(pairs, schema=JOINT_PAIRS), out / "pairs.parquet")
    write_json(summary, out / "summary.json")
    return summary


def split_by_picture(samples: list[dict[str, Any]]) -> set[str]:
    """The data sets whose own split puts more than half of the families in it on both sides; each is logged."""
    sides: dict[str, dict[str, set[bool]]] = {}  # data set -> family -> whether held out
    for row in samples:
        if row["split"]:
            sides.setdefault(row["dataset"], {}).setdefault(row["family"], set()).add(row["split"] in HELD_OUT)
    found = set()
    for dataset, families in sides.items():
        both = sum(len(held_out) == 2 for held_out in families.values())
        if 2 * both > len(families):
            found.add(dataset)
            log.info(
                "%s: its own split has %d of %d families on both sides: it is kept picture by picture, and no concept "
                "of it is held out",
                *(dataset, both, len(families)),
            )
    return found


def follow_own_split(samples: list[dict[str, Any]], params: SplitsParams, seed: int) -> dict[tuple[str, str], str]:
    """Split of each picture, by data set and image id, where data sets are split by picture.

    It is the data set's own; a picture without one is trained on. Of a data set without pictures for validation, or
    for test, the share of `params` is drawn from those to train on, in the order of a hash of image id and seed.
    """
    splits = {(row["dataset"], row["image_id"]): row["split"] or "train" for row in samples}
    for dataset in sorted({row["dataset"] for row in samples}):
        images = [key for key in splits if key[0] == dataset]
        train = sorted(
            (key for key in images if splits[key] == "train"),
            key=lambda key: hashlib.sha256(f"{seed}:{key[1]}".encode()).digest(),
        )
        start, available = 0, len(train)
        for split, share in (("test", params.test), ("validation", params.validation)):
            if any(splits[key] == split for key in images):
                continue
            end = start + max(1, round(share * available))
            splits |= dict.fromkeys(train[start:end], split)
            start = end
    return splits


def hold_out_everywhere(own: list[dict[str, Any]], others: list[dict[str, Any]], column: str) -> None:
    """A picture that is in a data set split by picture and in another one is on the held-out side of both."""
    rows: dict[str, list[dict[str, Any]]] = {row["image_id"]: [] for row in own}
    for row in (*own, *others):
        if row["image_id"] in rows:
            rows[row["image_id"]].append(row)
    for same in rows.values():
        split = min((row[column] for row in same), key=(*HELD_OUT, "train").index)
        for row in same:
            row[column] = split


def assign(
    samples: list[dict[str, Any]],
    fixed: Mapping[str, str],
    params: SplitsParams,
    seed: int,
    untested: Collection[str] = (),
) -> dict[str, str]:
    """Split of every family: test is filled first, then validation, the rest is train; `untested` are not in test.

    Families are ordered by a hash of their name and the seed, so that a new family moves few others. One is
    assigned if none of its data sets would exceed its share.
    """
    totals = Counter(row["dataset"] for row in samples)
    images: dict[str, Counter[str]] = {}
    for row in samples:
        images.setdefault(row["family"], Counter())[row["dataset"]] += 1
    order = sorted(images, key=lambda family: hashlib.sha256(f"{seed}:{family}".encode()).digest())
    assigned = dict(fixed)
    for split in HELD_OUT:
        share = params.test if split == "test" else params.validation
        room = {dataset: max(1, round(share * total)) for dataset, total in totals.items()}
        for family in fixed:
            if fixed[family] == split:
                room = {dataset: number - images[family][dataset] for dataset, number in room.items()}
        for family in order:
            if split == "test" and family in untested:
                continue
            if family not in assigned and all(number <= room[dataset] for dataset, number in images[family].items()):
                assigned[family] = split
                for dataset, number in images[family].items():
                    room[dataset] -= number
    return {family: assigned.get(family, "train") for family in images}


def _about(folder: Path) -> dict[str, Any]:
    return read_object(folder / "about.json")


def _transferred(
    index_folders: Mapping[str, Path], about: Mapping[str, dict[str, Any]]
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each sample of these data sets, its concept in the data set as its family, with its pairs."""
    for dataset, folder in sorted(index_folders.items()):
        samples, pairs, _, _ = _read({dataset: folder}, about)
        of: dict[str, list[dict[str, Any]]] = {}
        for pair in pairs:
            of.setdefault(pair["image_id"], []).append(pair)
        for row in samples:
            yield row | {"family": f"{dataset}: {row['concept']}"}, of.get(row["image_id"], [])


def _trained_on(samples: list[dict[str, Any]], repeats: int) -> dict[str, set[str]]:
    """The columns `split_<i>` in which each image is in train; images that never are have no entry."""
    found: dict[str, set[str]] = {}
    for row in samples:
        for column in (f"split_{repeat}" for repeat in range(repeats)):
            if row[column] == "train":
                found.setdefault(row["image_id"], set()).add(column)
    return found


def _read(
    index_folders: Mapping[str, Path], about: Mapping[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Concept], dict[str, str]]:
    """Rows of samples and pairs, what is known of each concept, and the reason of each data set without images."""
    samples: list[dict[str, Any]] = []
    pairs: list[dict[str, Any]] = []
    concepts: dict[str, Concept] = {}
    unavailable: dict[str, str] = {}
    for dataset, folder in sorted(index_folders.items()):
        if not about[dataset].get("available", True):
            unavailable[dataset] = str(about[dataset].get("reason"))
        shown: dict[str, list[str]] = {}  # image -> its concepts, the leading one first
        for row in read_table(folder / "labels.parquet").to_pylist():
            concept = concepts.setdefault(row["concept"], Concept())
            concept.classname = concept.classname or row["classname"]
            concept.keywords.update(row["keywords"] or ())
            concept.images.add(row["image_id"])
            if row["image_id"] not in shown:
                samples.append({"dataset": dataset, **row})
            shown.setdefault(row["image_id"], []).append(row["concept"])
        texts = read_table(folder / "texts.parquet", ["text_id", "text"])
        strings = dict(zip(texts["text_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
        for row in read_table(folder / "pairs.parquet").to_pylist():
            pairs.append({"dataset": dataset, **row})
            concepts[shown[row["image_id"]][0]].captions.add(strings[row["text_id"]])
    return samples, pairs, concepts, unavailable


def _given(samples: list[dict[str, Any]]) -> tuple[dict[str, str], int]:
    """Split of each family that a data set determines, and how many rows are moved by that."""
    wishes: dict[str, Counter[str]] = {}
    for row in samples:
        if row["split"]:
            wishes.setdefault(row["family"], Counter())[row["split"]] += 1
    given = {family: next(s for s in (*HELD_OUT, "train") if wish[s]) for family, wish in wishes.items()}
    return given, sum(wish.total() - wish[given[family]] for family, wish in wishes.items())


def _largest(sizes: Counter[str], number: int) -> list[tuple[str, int]]:
    return sorted(sizes.items(), key=lambda entry: (-entry[1], entry[0]))[:number]


def _shares(samples: list[dict[str, Any]], repeats: int) -> dict[str, dict[str, list[float]]]:
    """Data set -> split -> share of its images in each repeat."""
    totals = Counter(row["dataset"] for row in samples)
    counts = Counter((row["dataset"], row[f"split_{repeat}"], repeat) for row in samples for repeat in range(repeats))
    return {
        dataset: {
            split: [round(counts[dataset, split, repeat] / total, 4) for repeat in range(repeats)] for split in SPLITS
        }
        for dataset, total in sorted(totals.items())
    }
