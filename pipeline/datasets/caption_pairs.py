"""Which image goes with which caption, and on which side of each split: joined by id, never by position."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.paths import SPLITS

log = logging.getLogger(__name__)

LANGUAGE, ROLE = "en", "caption"  # heads learn from English captions only; other languages come from the encoder


@dataclass(frozen=True)
class CaptionPairs:
    """Captions of images, one entry per distinct pair and language, in the order of the tables.

    Attributes:
        dataset, image_id, text_id, language, family: (P,) str. `family` is the concept family of the image.
        splits: (P, R) str, the split of the image in each repeat.
    """

    dataset: np.ndarray
    image_id: np.ndarray
    text_id: np.ndarray
    language: np.ndarray
    family: np.ndarray
    splits: np.ndarray

    def __len__(self) -> int:
        return len(self.image_id)

    def where(self, mask: np.ndarray) -> "CaptionPairs":
        """The pairs at which `mask` (P,) bool is true."""
        return CaptionPairs(*(getattr(self, field.name)[mask] for field in fields(self)))

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
            f"{path} lacks the columns {', '.join(lacking)}; params.yaml has splits.repeats: {repeats}. "
            "Draw the splits again with: dvc repro"
        )
    return list(zip(*(table.column(name).to_pylist() for name in names), strict=True))


def samples_by_image(columns: Sequence[str], repeats: int) -> dict[tuple[str, str], tuple[str, ...]]:
    """By data set and image id what `read_samples` gives of it: the given columns, then the split of each repeat."""
    rows = read_samples(("dataset", "image_id", *columns), repeats)
    return {(dataset, image): tuple(rest) for dataset, image, *rest in rows}


def read_caption_pairs(
    datasets: Sequence[str], repeats: int, languages: Sequence[str] | None = (LANGUAGE,), role: str = ROLE
) -> CaptionPairs:
    """Read the captions of `datasets` from data/splits.

    A data set without any is left out, with a warning.

    Args:
        languages: of the captions; None for every language there is.
        role: of the captions; "caption", or "long".

    Raises:
        DataError: a table is missing, lacks a split, or a pair names an image that has no split.
    """
    sample_of = samples_by_image(("family",), repeats)

    columns = ["dataset", "image_id", "text_id", "language", "role"]
    table = read_table(SPLITS / "pairs.parquet", columns)
    rows: dict[tuple[str, str, str, str], tuple[str, ...]] = {}
    for *key, of_role in zip(*(table.column(name).to_pylist() for name in columns), strict=True):
        dataset, image, text, language = key
        if dataset not in datasets or of_role != role or (languages is not None and language not in languages):
            continue
        if (dataset, image) not in sample_of:
            raise DataError(
                f"{SPLITS / 'pairs.parquet'} names image {image} of {dataset}, which samples.parquet beside it "
                "does not hold. Draw the splits again with: dvc repro"
            )
        rows[(dataset, image, text, language)] = sample_of[(dataset, image)]
    for dataset in datasets:
        if not any(key[0] == dataset for key in rows):
            wanted = "" if languages is None else f" in {', '.join(languages)}"
            log.warning("%s has no captions%s (is its source installed?) and is left out", dataset, wanted)
    keys = np.array(list(rows), dtype=object).reshape(len(rows), 4)
    values = np.array(list(rows.values()), dtype=object).reshape(len(rows), 1 + repeats)
    return CaptionPairs(keys[:, 0], keys[:, 1], keys[:, 2], keys[:, 3], values[:, 0], values[:, 1:])
