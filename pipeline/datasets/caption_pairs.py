"""Which image goes with which caption, and on which side of each split: joined by id, never by position."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.coded import Coded
from pipeline.datasets.sample_table import IMAGE, SampleTable, require_columns, samples_file
from pipeline.datasets.tables import read_pieces, read_table
from pipeline.errors import DataError
from pipeline.freed_memory import give_back
from pipeline.ids import Ids
from pipeline.paths import SPLITS

log = logging.getLogger(__name__)

LANGUAGE, ROLE = "en", "caption"  # heads learn from English captions only; other languages come from the encoder


@dataclass(frozen=True)
class CaptionPairs:
    """Captions of images, one entry per distinct pair and language, in the order of the tables.

    Attributes:
        dataset, image_id, text_id, language, family: (P,) columns of strings. `family` is the concept family of the
            image.
        splits: (P, R), the split of the image in each repeat.
    """

    dataset: Coded
    image_id: Coded
    text_id: Coded
    language: Coded
    family: Coded
    splits: Coded

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

    They take some kilobytes each in memory; `SampleTable` is for many.

    Raises:
        DataError: the table is missing or lacks a column.
    """
    table = read_table(SPLITS / "samples.parquet", require_columns(columns, repeats))
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def samples_by_image(columns: Sequence[str], repeats: int) -> "SamplesByImage":
    """By data set and image id what `read_samples` gives of it: the given columns, then the split of each repeat."""
    return SamplesByImage(SampleTable.read(columns, repeats))


class SamplesByImage(Mapping[tuple[str, str], tuple[Any, ...]]):
    """Rows of a `SampleTable` by data set and image id, for some pictures of many."""

    def __init__(self, samples: SampleTable) -> None:
        self._samples = samples

    def __getitem__(self, key: tuple[str, str]) -> tuple[Any, ...]:
        row = int(self._samples.find(key[0], [key[1]])[0])
        if row < 0:
            raise KeyError(key)
        values = (column[row] for column in self._samples.columns.values())
        return *values, *self._samples.splits[row].tolist()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return zip(self._samples.dataset, self._samples.image_id, strict=True)

    def __len__(self) -> int:
        return len(self._samples)


def read_caption_pairs(
    datasets: Sequence[str],
    repeats: int,
    languages: Sequence[str] | None = (LANGUAGE,),
    role: str = ROLE,
    modality: str = IMAGE,
) -> CaptionPairs:
    """Read the captions of `datasets` from data/splits: of pictures, or of another modality.

    A data set without any is left out, with a warning.

    Args:
        languages: of the captions; None for every language there is.
        role: of the captions; "caption", or "long".
        modality: of what they describe; `image_id` has its ids.

    Raises:
        DataError: a table is missing, lacks a split, or a pair names an image that has no split.
    """
    samples = SampleTable.read(("family",), repeats, modality)
    path = SPLITS / pairs_file(modality)
    found: list[list[Coded]] = [[Coded.of(())] * 4]
    rows = [np.empty(0, np.int32)]
    for piece in read_pieces(path, ["dataset", f"{modality}_id", "text_id", "language", "role"]):
        asked = _asked(piece, datasets, languages, role)
        columns = [Coded.of(asked.column(name)) for name in asked.column_names[:4]]
        found.append(columns)
        rows.append(_sample_rows(samples, columns[0], Ids.of(asked.column(f"{modality}_id")), path, modality))
    columns_P = []
    for place in range(4):  # one by one, and what has been joined is let go
        columns_P.append(Coded.joined([parts[place] for parts in found]))
        for parts in found:
            parts[place] = parts[-1]
    del found
    datasets_P, images, texts, language = columns_P
    row = np.concatenate(rows)
    del rows
    pairs = CaptionPairs(datasets_P, images, texts, language, samples.columns["family"][row], samples.splits[row])
    for dataset in datasets:
        if not (pairs.dataset == dataset).any():
            wanted = "" if languages is None else f" in {', '.join(languages)}"
            log.warning("%s has no captions%s (is its source installed?) and is left out", dataset, wanted)
    first = _first_of_equals(datasets_P.codes, images.codes, texts.codes, language.codes)
    pairs = pairs if first.all() else pairs.where(first)
    del samples, first, row
    give_back()
    return pairs


def pairs_file(modality: str = IMAGE) -> str:
    """The table of a modality's captions in data/splits."""
    return "pairs.parquet" if modality == IMAGE else f"{modality}_pairs.parquet"


def read_linked_pairs(modality: str, datasets: Sequence[str], repeats: int) -> CaptionPairs:
    """Pictures and samples of another modality that belong together, in the form of captions.

    `image_id` is the picture's id, `text_id` the other's, `language` empty. A pair is in a split where both of its
    samples are; elsewhere its split is null.

    Raises:
        DataError: as `read_caption_pairs`.
    """
    images, others = SampleTable.read(("family",), repeats), SampleTable.read((), repeats, modality)
    path = SPLITS / f"{modality}_images.parquet"
    found: list[list[Ids]] = [[Ids.of(())] * 3]
    image_rows, other_rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for piece in read_pieces(path, ["dataset", "image_id", f"{modality}_id"]):
        asked = piece.filter(pc.is_in(piece.column("dataset"), pa.array(list(datasets), pa.string())))
        columns = [Ids.of(asked.column(name)) for name in asked.column_names]
        found.append(columns)
        dataset = Coded.of(columns[0])
        image_rows.append(_sample_rows(images, dataset, columns[1], path, IMAGE))
        other_rows.append(_sample_rows(others, dataset, columns[2], path, modality))
    datasets_P, first, second = (Coded.of(Ids.joined(parts)) for parts in zip(*found, strict=True))
    row, other = np.concatenate(image_rows), np.concatenate(other_rows)
    codes = np.where(images.splits.codes[row] == others.splits.codes[other], images.splits.codes[row], np.int8(-1))
    nothing = Coded(np.zeros(len(row), np.int8), Ids.of([""]))
    splits = Coded(codes, images.splits.values)
    return CaptionPairs(datasets_P, first, second, nothing, images.columns["family"][row], splits)


def read_pairs(first: str, second: str, datasets: Sequence[str], repeats: int) -> CaptionPairs:
    """The pairs of two modalities, in which `image_id` is of the first and `text_id` of the second.

    Raises:
        DataError: as `read_caption_pairs`.
    """
    if second == "text":
        return read_caption_pairs(datasets, repeats, modality=first)
    return read_linked_pairs(second, datasets, repeats)


def _asked(piece: pa.Table, datasets: Sequence[str], languages: Sequence[str] | None, role: str) -> pa.Table:
    mask = pc.and_(
        pc.is_in(piece.column("dataset"), pa.array(list(datasets), pa.string())), pc.equal(piece.column("role"), role)
    )
    if languages is not None:
        mask = pc.and_(mask, pc.is_in(piece.column("language"), pa.array(list(languages), pa.string())))
    return piece.filter(pc.fill_null(mask, False))


def _sample_rows(samples: SampleTable, dataset: Coded, images: Ids, path: Path, modality: str) -> np.ndarray:
    rows: np.ndarray = np.empty(len(images), np.int32 if len(samples) < 2**31 else np.int64)
    for name in dataset.values:
        inside = np.flatnonzero(dataset == name)
        rows[inside] = samples.find(name, images[inside])
        if (lacking := inside[np.asarray(rows[inside] < 0)]).size:
            raise DataError(
                f"{path} names {modality} {images[int(lacking[0])]} of {name}, which {samples_file(modality)} beside "
                "it does not hold. Draw the splits again with: dvc repro"
            )
    return rows


def _first_of_equals(dataset: np.ndarray, image: np.ndarray, text: np.ndarray, language: np.ndarray) -> np.ndarray:
    """Which pairs (P,) bool no earlier pair equals."""
    order = np.lexsort((language, dataset, text, image))
    again = np.ones(max(0, len(order) - 1), dtype=bool)
    for column in (image, text, dataset, language):
        again &= column[order[1:]] == column[order[:-1]]
    first = np.ones(len(order), dtype=bool)
    first[order[1:][again]] = False
    return first
