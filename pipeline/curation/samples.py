"""The samples of a pool: train pictures of one repeat, each with its first caption and what it is labelled with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.coded import Coded
from pipeline.curation.pool import LABELS, Pool
from pipeline.datasets.caption_pairs import CaptionPairs, read_caption_pairs
from pipeline.datasets.sample_table import SampleTable
from pipeline.datasets.tables import read_table
from pipeline.ids import Ids
from pipeline.paths import index_folder
from pipeline.row_map import RowMap


@dataclass(frozen=True)
class Samples:
    """Pictures of one repeat in the order of data sets by name, then of data/splits.

    Attributes:
        pool: their data set, id and labels.
        text_id: (N,), of the first caption in English; null without one.
        text: (N,) of str, that caption; empty without one.
    """

    pool: Pool
    text_id: Coded
    text: Sequence[str]

    def __len__(self) -> int:
        return len(self.pool)

    def take(self, rows: np.ndarray) -> "Samples":
        """The given rows."""
        return Samples(self.pool.take(rows), self.text_id[rows], [self.text[row] for row in rows.tolist()])

    def by_dataset(self) -> dict[str, np.ndarray]:
        """Rows (n,) int64 of each data set, ascending."""
        dataset = self.pool.dataset
        return {name: np.flatnonzero(dataset == name) for name in dataset.distinct()}


class SampleReader:
    """Reads the samples of any repeat and split.

    Raises:
        DataError: a table is missing, or a pair names a picture that has no split.
    """

    def __init__(self, datasets: Sequence[str], repeats: int) -> None:
        self._table = SampleTable.read(LABELS, repeats)
        self._pairs = read_caption_pairs(sorted(datasets), repeats)
        self._texts = {name: _texts(name, self._pairs) for name in datasets}

    def of(self, datasets: Sequence[str], repeat: int, split: str | None) -> Samples:
        """The samples of one split of some of the data sets; of all splits where None."""
        table, parts = self._table, [np.empty(0, np.int64)]
        inside = np.ones(len(table), bool) if split is None else table.splits[:, repeat] == split
        for name in sorted(datasets):
            parts.append(np.flatnonzero(inside & (table.dataset == name)))
        rows = np.concatenate(parts)
        ids = Coded(rows.astype(np.int32), table.image_id)
        pool = Pool(table.dataset[rows], ids, {name: column[rows] for name, column in table.columns.items()})
        first = np.full(len(rows), -1, np.int64)
        for name in sorted(datasets):
            mine = np.flatnonzero(self._pairs.dataset == name)
            by_image = RowMap(self._pairs.image_id[mine].ids())
            here = np.flatnonzero(pool.dataset == name)
            found = by_image.find(pool.image_id[here].ids())
            first[here[found >= 0]] = mine[found[found >= 0]]
        codes = np.where(first >= 0, self._pairs.text_id.codes[first], -1) if len(self._pairs) else first
        text_id = Coded(codes, self._pairs.text_id.values)
        return Samples(pool, text_id, self._strings(pool, text_id))

    def captions(self, dataset: str, repeat: int, split: str | None) -> list[str]:
        """All captions in English of the samples of one split of a data set; of all splits where None."""
        known, strings = self._texts[dataset]
        mask = self._pairs.dataset == dataset
        mask = mask if split is None else mask & (self._pairs.splits[:, repeat] == split)
        places = known.find(self._pairs.text_id[mask].ids())
        return [strings[place] for place in np.unique(places[places >= 0]).tolist()]

    def _strings(self, pool: Pool, text_id: Coded) -> list[str]:
        out = [""] * len(pool)
        for name, (known, strings) in self._texts.items():
            here = np.flatnonzero((pool.dataset == name) & (text_id.codes >= 0))
            places = known.find(text_id[here].ids())
            for row, place in zip(here.tolist(), places.tolist(), strict=True):
                out[row] = strings[place] if place >= 0 else ""
        return out


def _texts(dataset: str, pairs: CaptionPairs) -> tuple[RowMap, list[str]]:
    wanted = pairs.text_id[pairs.dataset == dataset].ids()
    if not len(wanted):
        return RowMap(Ids.of(())), []
    table = read_table(index_folder("pairs", dataset) / "texts.parquet", ["text_id", "text"])
    used = table.filter(pc.is_in(table.column("text_id"), pa.array(wanted.strings(), pa.string())))
    return RowMap(Ids.of(used.column("text_id"))), used.column("text").to_pylist()
