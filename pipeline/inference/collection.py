"""Vectors of a folder of pictures, of texts, of a store or of an array, to be searched without their encoder.

On disk they lie as clip-retrieval writes them: `img_emb/img_emb_<n>.npy` or `text_emb/text_emb_<n>.npy`, and rows of
the same order in `metadata/metadata_<n>.parquet` with `image_path`, `caption` and whatever else is known of them.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.plain_files import Inside
from pipeline.datasets.raw_files import is_picture
from pipeline.datasets.walk import walk
from pipeline.errors import DataError
from pipeline.inference.arguments import whole_number
from pipeline.inference.collection_files import captions_beside, column_of, find_files, rows_table, write_collection
from pipeline.inference.filters import Where, allowed_rows, columns_of, matching_rows
from pipeline.inference.found import FoundItem
from pipeline.inference.scan import Nearest
from pipeline.inference.search import Query, combined_query
from pipeline.inference.sounds import is_sound
from pipeline.inference.vector_index import VectorIndex
from pipeline.inference.vectors import VectorRows
from pipeline.progress import tqdm
from pipeline.user_path import user_path
from pipeline.vector_files import read_vectors

if TYPE_CHECKING:
    from pipeline.inference.model import Aligner

__all__ = ["Collection", "pictures_below"]


def pictures_below(folder: Path) -> list[Path]:
    """The pictures in a folder and its subfolders, by name."""
    ignored: Counter[str] = Counter()
    return [Path(entry.path) for entry in walk(folder, Inside(folder)) if is_picture(entry.name, ignored)]


@dataclass(frozen=True)
class Collection:
    """Vectors and what each stands for.

    Attributes:
        rows: the vectors (N, K), float32, float16 or int8, perhaps mapped from files.
        table: of N rows, `image_path` (null for a text) and `captions`, and perhaps `id`; of an opened collection
            further columns are read when they are asked for.
        tables: the Parquet files that the table is from, if it is.
        home: the folder or .npy file that was opened.
        failed: reasons by path of the pictures that could not be read, which are no rows.
    """

    rows: VectorRows
    table: pa.Table
    tables: tuple[Path, ...] = ()
    home: Path | None = None
    failed: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def vectors(self) -> np.ndarray:
        """All vectors as one array (N, K), which is a copy where they lie in several files."""
        return self.rows.whole()

    @property
    def paths(self) -> Sequence[Path | None]:
        """Of the pictures; None for a text."""
        return _Column(self.table.column("image_path"), lambda path: Path(path) if path else None)

    @property
    def captions(self) -> Sequence[tuple[str, ...]]:
        """Of each row; of a text, itself."""
        return _Column(self.table.column("captions"), lambda captions: tuple(captions or ()))

    @cached_property
    def ids(self) -> pa.Array:
        """(N,) strings, the column `id`, or else numbers of rows."""
        if "id" in self.table.column_names:
            return self.table.column("id").combine_chunks()
        return pa.array(np.arange(len(self))).cast(pa.string())

    @classmethod
    def of_pictures(cls, aligner: "Aligner", pictures: Sequence[Path], *, batch_size: int = 32) -> "Collection":
        """Encode pictures; their captions are those in `captions.csv` or in a .txt beside them.

        Raises:
            DataError: there are none, or none can be read.
        """
        parts, paths, failed = [], [], {}
        starts = range(0, len(pictures), batch_size)
        for start in tqdm(starts, desc="encode", unit="batch", leave=False, disable=None if len(starts) > 1 else True):
            batch = list(pictures[start : start + batch_size])
            try:
                parts.append(aligner.encode_image(batch, batch_size=batch_size))
                paths += batch
            except DataError:  # some of them: one by one
                for path in batch:
                    try:
                        parts.append(aligner.encode_image([path]))
                        paths.append(path)
                    except DataError as error:
                        failed[str(path)] = str(error)
        if not paths:
            reason = f" The first: {next(iter(failed.values()))}" if failed else ""
            raise DataError(f"None of {len(pictures)} pictures could be read.{reason}")
        table = rows_table(map(str, paths), captions_beside(paths))
        return cls(VectorRows([np.concatenate(parts)]), table, failed=failed)

    @classmethod
    def of_texts(cls, aligner: "Aligner", texts: Sequence[str], *, batch_size: int = 32) -> "Collection":
        """Encode texts.

        Raises:
            DataError: there are none.
        """
        vectors = aligner.encode_text(list(texts), batch_size=batch_size)
        return cls(VectorRows([vectors]), rows_table([None] * len(texts), ([text] for text in texts)))

    @classmethod
    def open(cls, where: Path, aligner: "Aligner") -> "Collection":
        """What is at a path: vectors that `write` or clip-retrieval wrote, a .npy file, or pictures, encoded now.

        Raises:
            DataError: nothing of these is there, or tables and vectors have different numbers of rows.
        """
        where = user_path(where, "the place of vectors or pictures")
        if find_files(where) is not None:
            return cls.read(where)
        if not where.is_dir():
            raise DataError(f"No folder at {where}. Expected a store, a folder of pictures, vectors, or a .npy file.")
        pictures = pictures_below(where)
        if not pictures:
            raise DataError(f"{where} holds neither pictures, nor img_emb/*.npy, nor a feature store (zarr.json).")
        return cls.of_pictures(aligner, pictures)

    @classmethod
    def read(cls, where: Path) -> "Collection":
        """Vectors that `write` or clip-retrieval wrote, or a .npy file, mapped; no encoder is needed.

        Raises:
            DataError: there are none, or tables and vectors have different numbers of rows.
        """
        where = user_path(where, "the place of vectors or pictures")
        found = find_files(where)
        if found is None:
            raise DataError(f"No vectors at {where}: neither img_emb/*.npy or text_emb/*.npy, nor a .npy file.")
        files, tables = found
        parts = [read_vectors(file, "fi") for file in files]
        table = column_of(tables, [len(part) for part in parts])
        return cls(VectorRows(parts, files), table, tuple(tables), where)

    def write(self, out: Path, *, dtype: str = "float32") -> list[Path]:
        """Write the vectors and the table beside them; gives the files.

        Args:
            dtype: float32; float16, half of its bytes; or int8, a quarter, by which cosines change in the third digit.

        Raises:
            DataError: the folder holds vectors already.
        """
        return write_collection(self.rows, self.table, out, dtype)

    def index(self) -> VectorIndex:
        """The index that `permafrost index` built of these vectors.

        Raises:
            DataError: there is none, it is damaged, or the vectors were changed since.
            ModelError: FAISS is not installed.
        """
        from pipeline.inference.vector_index.files import index_folder

        if self.home is None:
            raise DataError("These vectors were not opened from a folder. Write them first, and index them there.")
        return VectorIndex.open(index_folder(self.home), self.rows)

    def search(
        self,
        aligner: "Aligner",
        query: Query,
        k: int = 10,
        *,
        add: Sequence[Query] = (),
        subtract: Sequence[Query] = (),
        among: Iterable[str] | None = None,
        where: Where | None = None,
        index: VectorIndex | None = None,
        probes: int | None = None,
    ) -> list[FoundItem]:
        """The rows nearest to words or to a picture, best first.

        Args:
            query: a text (str), or a picture (PIL image or `Path`).
            add, subtract: further texts and pictures, whose vectors are added to the query's or taken off.
            among: ids of rows that may be found; all where None.
            where: by column of the tables beside the vectors, values of which a row must have one.
            index: as `index` gives it; every row is compared where None.
            probes: of an index, lists that are searched.

        Raises:
            DataError: the vectors have another width than those of the aligner; the query cannot be read; nothing is
                left of it; an id, a column or a value that there is not.
        """
        vector = combined_query(_encoder(aligner), query, add, subtract)
        found = self.nearest(vector[None], k, among=among, where=where, index=index, probes=probes)
        return self.items(found)[0]

    def nearest(
        self,
        queries: np.ndarray,
        k: int = 10,
        *,
        among: Iterable[str] | None = None,
        where: Where | None = None,
        index: VectorIndex | None = None,
        probes: int | None = None,
    ) -> Nearest:
        """The rows nearest to unit vectors (Q, K), all of which are answered in one pass; see `search`."""
        k = whole_number(k, "k")
        if self.rows.width != queries.shape[1]:
            raise DataError(
                f"The vectors have {self.rows.width} numbers, those of this aligner {queries.shape[1]}: they are of "
                "another model. Write them again with: permafrost embed"
            )
        allowed = self._allowed(among, where)
        if index is None:
            return self.rows.nearest(queries, k, allowed)
        probes = None if probes is None else whole_number(probes, "probes")
        return index.search(queries, k, allowed, probes)

    def items(self, found: Nearest) -> list[list[FoundItem]]:
        """What was found, by query, with paths and captions."""
        rows = zip(found.rows.tolist(), found.scores.tolist(), strict=True)
        return [[self._item(row, score) for row, score in zip(*one, strict=True)] for one in rows]

    def some_captions(self, count: int, seed: int) -> list[str]:
        """The first captions of some rows that have one, drawn from all of them."""
        column = self.table.column("captions")
        order = np.random.default_rng(seed).permutation(len(self))[: 20 * count]
        drawn = column.take(pa.array(order)).to_pylist()
        return list(dict.fromkeys(captions[0] for captions in drawn if captions))[:count]

    def _allowed(self, among: Iterable[str] | None, where: Where | None) -> np.ndarray | None:
        allowed = None if among is None else allowed_rows(self.ids, among)
        for name, wanted in columns_of(where).items():
            chosen = matching_rows(self._column(name), wanted, name)
            allowed = chosen if allowed is None else allowed & chosen
        return allowed

    def _column(self, name: str) -> Any:
        if not self.tables:
            if name in self.table.column_names:
                return self.table.column(name)
            raise DataError(f"Rows cannot be chosen by {name!r}: they have {', '.join(self.table.column_names)}.")
        return column_of(self.tables, self.rows.counts, [name]).column(name)

    def _item(self, row: int, score: float) -> FoundItem:
        path, captions = self.paths[row], self.captions[row]
        values = {name: self.table.column(name)[row].as_py() for name in ("id", "key", "index", "index_row")
                  if name in self.table.column_names}  # fmt: skip
        place = None if values.get("index") is None else (Path(values["index"]), int(values["index_row"]))
        key = values.get("key") or (None if path is None else path.name)
        identifier = values.get("id") or str(row)
        return FoundItem(identifier, score, path, key, captions or (identifier,), place)


def _encoder(aligner: "Aligner") -> Callable[[Query], np.ndarray]:
    def encode(query: Query) -> np.ndarray:
        many: Callable[[Any], np.ndarray] = aligner.encode_text if isinstance(query, str) else aligner.encode_image
        if not isinstance(query, str) and is_sound(query):
            many = aligner.encode_audio
        vector: np.ndarray = many([query])[0]
        return vector

    return encode


class _Column(Sequence[Any]):
    """Values of a column, made when they are asked for."""

    def __init__(self, column: pa.ChunkedArray, make: Callable[[Any], Any]) -> None:
        self._column, self._make = column, make

    def __len__(self) -> int:
        return len(self._column)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self._make(value) for value in self._column[place].to_pylist()]
        return self._make(self._column[place].as_py())

    def __iter__(self) -> Iterator[Any]:
        return (self._make(value) for value in self._column.to_pylist())
