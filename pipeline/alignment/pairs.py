"""Which image goes with which caption, and on which side of each split: joined by id, never by position."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.paths import SPLITS

log = logging.getLogger(__name__)

LANGUAGE, ROLE = "en", "caption"  # the head learns from English captions alone; other languages come with the encoder


@dataclass(frozen=True)
class CaptionPairs:
    """English captions of images, one entry per distinct pair, in the order of the tables.

    Attributes:
        dataset, image_id, text_id, family: (P,) str. `family` is the concept family of the image.
        splits: (P, R) str, the split of the image in each repeat.
    """

    dataset: np.ndarray
    image_id: np.ndarray
    text_id: np.ndarray
    family: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.image_id)

    def where(self, mask: np.ndarray) -> "CaptionPairs":
        """The pairs at which `mask` (P,) bool is true."""
        return CaptionPairs(
            self.dataset[mask], self.image_id[mask], self.text_id[mask], self.family[mask], self.splits[mask]
        )

    def of(self, repeat: int, split: str, dataset: str | None = None) -> "CaptionPairs":
        """The pairs of one split of one repeat, of all data sets or of one."""
        mask = self.splits[:, repeat] == split
        return self.where(mask if dataset is None else mask & (self.dataset == dataset))


def read_samples(columns: Sequence[str], repeats: int) -> list[tuple[str, ...]]:
    """Rows of data/splits/samples.parquet: the given columns, then the split of each repeat.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    path = SPLITS / "samples.parquet"
    table = read_table(path)
    names = [*columns, *(f"split_{i}" for i in range(repeats))]
    lacking = [name for name in names if name not in table.column_names]
    if lacking:
        raise DataError(
            f"{path} lacks the columns {', '.join(lacking)}; params.yaml says splits.repeats: {repeats}. "
            "Draw the splits again with: dvc repro"
        )
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def read_caption_pairs(datasets: Sequence[str], repeats: int) -> CaptionPairs:
    """Read the English captions of `datasets` from data/splits.

    A data set without any is left out, with a warning.

    Raises:
        DataError: a table is missing, lacks a split, or a pair names an image that has no split.
    """
    samples = read_samples(("dataset", "image_id", "family"), repeats)
    sample_of = {(dataset, image): rest for dataset, image, *rest in samples}

    table = read_table(SPLITS / "pairs.parquet", ["dataset", "image_id", "text_id", "language", "role"])
    found: dict[tuple[str, str, str], list[str]] = {}
    for entry in table.to_pylist():
        if entry["dataset"] not in datasets or entry["language"] != LANGUAGE or entry["role"] != ROLE:
            continue
        key = (entry["dataset"], entry["image_id"])
        if key not in sample_of:
            raise DataError(
                f"{SPLITS / 'pairs.parquet'} names image {key[1]} of {key[0]}, which samples.parquet beside it "
                "does not hold. Draw the splits again with: dvc repro"
            )
        found[(*key, entry["text_id"])] = sample_of[key]
    for dataset in datasets:
        if not any(key[0] == dataset for key in found):
            log.warning("%s has no English captions (is its source installed?) and is left out", dataset)
    return CaptionPairs(
        dataset=np.array([key[0] for key in found], dtype=object),
        image_id=np.array([key[1] for key in found], dtype=object),
        text_id=np.array([key[2] for key in found], dtype=object),
        family=np.array([value[0] for value in found.values()], dtype=object),
        splits=np.array([value[1:] for value in found.values()], dtype=object).reshape(len(found), repeats),
    )
