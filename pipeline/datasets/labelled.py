"""The pictures of several indexes, one row each, and what the indexes tell of concepts: numbers in place of strings.

Where an index has sounds or another further modality, these are rows too, behind all pictures: a data set of its own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.coded import Coded
from pipeline.datasets.families import ConceptTable, folded
from pipeline.datasets.own_splits import FURTHER_MEDIA, PICTURES, Medium
from pipeline.datasets.tables import read_pieces
from pipeline.errors import DataError
from pipeline.ids import Ids
from pipeline.row_map import RowMap

HELD_OUT = ("test", "validation")  # in the order in which they are filled, and in which they win a conflict
ORDER = (*HELD_OUT, "train")
TEST, VALIDATION, TRAIN = range(3)
UNSPLIT = -1  # where a data set has no split of its own


@dataclass(frozen=True)
class Labelled:
    """Pictures, then sounds, in the order of their data sets' names and of their first labels.

    Attributes:
        datasets: names, sorted; first of all data sets, and then of those that have sounds.
        folders: of their indexes.
        media: what the rows of each are.
        dataset: (n,) int16, positions in `datasets`.
        ids: (n,) of the pictures.
        image: (n,) int32, equal for equal ids.
        labels: (n,) int32, or int64 of very many, the first label of each picture among those of all data sets.
        concept, classname, category: of every label, null where it has none; `concept` has its values sorted.
        own: (n,) int8, the split that the data set gives: a position in `ORDER`, or `UNSPLIT`.
    """

    datasets: tuple[str, ...]
    folders: tuple[Path, ...]
    media: tuple[Medium, ...]
    dataset: np.ndarray
    ids: Ids
    image: np.ndarray
    labels: np.ndarray
    label_image: np.ndarray
    concept: Coded
    classname: Coded
    category: Coded
    own: np.ndarray

    @classmethod
    def read(cls, indexes: Mapping[str, Path]) -> "Labelled":
        """Read labels.parquet, and its likes of further modalities, of every index, column by column.

        Raises:
            DataError: a table is missing or damaged, or a split has an unknown name.
        """
        names = sorted(indexes)
        sources = [(name, PICTURES) for name in names] + [
            (name, medium)
            for medium in FURTHER_MEDIA.values()
            for name in names
            if (indexes[name] / f"{medium.labels}.parquet").is_file()
        ]
        datasets, media = tuple(name for name, _ in sources), tuple(medium for _, medium in sources)
        paths = [indexes[dataset] / f"{medium.labels}.parquet" for dataset, medium in sources]
        ids = [_ids(path, medium.column) for path, medium in zip(paths, media, strict=True)]
        starts = np.cumsum([0, *map(len, ids)])
        kind = np.int32 if starts[-1] < 2**31 else np.int64
        firsts = [
            (of_dataset.firsts() + start).astype(kind) for of_dataset, start in zip(ids, starts.tolist(), strict=False)
        ]
        labels = firsts[0] if len(firsts) == 1 else np.concatenate([_EMPTY, *firsts])
        whole = Ids.joined(ids)
        del ids
        image = whole.numbered()[0]
        return cls(
            datasets=datasets,
            folders=tuple(indexes[dataset] for dataset in datasets),
            media=media,
            dataset=np.repeat(np.arange(len(datasets), dtype=np.int16), list(map(len, firsts))),
            ids=whole.take(labels),
            image=image if len(labels) == len(whole) else image[labels],
            labels=labels,
            label_image=image,
            concept=_column(paths, "concept").sorted(),
            classname=_column(paths, "classname"),
            category=_column(paths, "category"),
            own=_splits(_column(paths, "split"), paths)[labels],
        )

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def called(self) -> tuple[str, ...]:
        """The data sets as messages call them: sounds of one apart from its pictures."""
        called = zip(self.datasets, self.media, strict=True)
        return tuple(name if medium is PICTURES else f"{name}, {medium.name}s" for name, medium in called)

    @property
    def pictures(self) -> int:
        """How many rows are pictures; they come first."""
        return int(np.searchsorted(self.dataset, self.media.count(PICTURES)))

    @cached_property
    def picture_concept(self) -> np.ndarray:
        """The leading concept of each picture, (n,) int32."""
        return np.asarray(self.concept.codes[self.labels])

    def rows_of(self, dataset: int) -> slice:
        """The pictures of a data set, which are consecutive."""
        return slice(*np.searchsorted(self.dataset, [dataset, dataset + 1]).tolist())

    def concepts(self) -> ConceptTable:
        """What the indexes tell of every concept.

        Raises:
            DataError: a table is missing or damaged.
        """
        named = np.flatnonzero(self.classname.codes >= 0)[::-1]
        classname = np.full(len(self.concept.values), -1, np.int32)
        classname[self.concept.codes[named]] = self.classname.codes[named]  # of several labels the first stays
        return ConceptTable(
            names=self.concept.values,
            classname=Coded(classname, self.classname.values),
            keywords=self._keywords(),
            images=(self.label_image, self.concept.codes),
            captions=self._captions(),
        )

    def _keywords(self) -> dict[int, set[str]]:
        found: dict[int, set[str]] = {}
        start = 0
        for folder, medium in zip(self.folders, self.media, strict=True):
            for piece in read_pieces(folder / f"{medium.labels}.parquet", ["keywords"]):
                column = piece.column("keywords").combine_chunks()
                having = pc.fill_null(pc.greater(pc.list_value_length(column), 0), False)
                some = np.flatnonzero(having.to_numpy(zero_copy_only=False))
                concepts = self.concept.codes[start + some].tolist()
                for concept, keywords in zip(concepts, column.take(pa.array(some)).to_pylist(), strict=True):
                    found.setdefault(concept, set()).update(keywords)
                start += len(piece)
        return found

    def _captions(self) -> tuple[np.ndarray, np.ndarray]:
        """Caption and leading concept of every pair, both as numbers."""
        caption = Ids.joined(Ids.joined(_digests(folder / "texts.parquet")) for folder in self.folders).numbered()[0]
        rows, concepts, read = [_EMPTY], [_EMPTY], 0
        for number, folder in enumerate(self.folders):
            text, concept, texts = self._pairs(number, folder)
            rows.append(text + np.int32(read))
            concepts.append(concept)
            read += texts
        return caption[np.concatenate(rows)], np.concatenate(concepts)

    def _pairs(self, number: int, folder: Path) -> tuple[np.ndarray, np.ndarray, int]:
        """Row of the text and leading concept of every pair of a data set, (p,) int32, and how many texts it has.

        Sounds of an index with pictures have the captions of these, which relate concepts already: a recording that
        serves several pictures relates none.
        """
        medium = self.media[number]
        row_of_text = RowMap(_ids(folder / "texts.parquet", "text_id"))
        pictures = self.rows_of(number)
        row_of_picture, leading = RowMap(self.ids[pictures]), self.picture_concept[pictures]
        rows, concepts = [_EMPTY], [_EMPTY]
        beside = self.rows_of(self.datasets.index(self.datasets[number]))  # pictures of the same index
        if medium is not PICTURES and beside.stop > beside.start:
            return _EMPTY, _EMPTY, len(row_of_text)
        for piece in read_pieces(folder / f"{medium.pairs}.parquet", [medium.column, "text_id"]):
            picture = _known(row_of_picture, piece.column(medium.column), medium.labels, folder)
            rows.append(_known(row_of_text, piece.column("text_id"), "texts", folder).astype(np.int32))
            concepts.append(leading[picture])
        return np.concatenate(rows), np.concatenate(concepts), len(row_of_text)


_EMPTY = np.empty(0, np.int32)


def _ids(path: Path, column: str) -> Ids:
    return Ids.joined(piece.column(column) for piece in read_pieces(path, [column]))


def _digests(path: Path) -> Iterator[Ids]:
    """128 bits of every text, equal for texts that relate concepts."""
    for piece in read_pieces(path, ["text"]):
        digests = (xxhash.xxh3_128_digest(folded(text).encode("utf-8")) for text in piece.column("text").to_pylist())
        yield Ids(np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16))


def _column(paths: list[Path], name: str) -> Coded:
    return Coded.of_pieces(piece.column(name) for path in paths for piece in read_pieces(path, [name]))


def _splits(column: Coded, paths: list[Path]) -> np.ndarray:
    """(n,) int8, positions in `ORDER`."""
    names = column.values.tolist()
    if unknown := [name for name in names if name and name not in ORDER]:
        raise DataError(
            f"Expected the splits train, validation, test or null in {', '.join(map(str, paths))}; found "
            f"{unknown[0]!r}. Index the data set again with: dvc repro"
        )
    codes = np.array([*(ORDER.index(name) if name else UNSPLIT for name in names), UNSPLIT], np.int8)
    return np.asarray(codes[column.codes])


def _known(rows: RowMap, column: pa.ChunkedArray, table: str, folder: Path) -> np.ndarray:
    found = rows.find(column)
    if (found < 0).any():
        missing = column[int(np.flatnonzero(found < 0)[0])].as_py()
        raise DataError(
            f"{folder / 'pairs.parquet'} names {missing}, which {table}.parquet beside it does not hold. Index the "
            "data set again with: dvc repro"
        )
    return found
