"""Vectors of a folder of pictures, of texts or of an array, to be searched without a feature store.

On disk they lie as clip-retrieval writes them: `img_emb/img_emb_<n>.npy` or `text_emb/text_emb_<n>.npy`, and rows of
the same order in `metadata/metadata_<n>.parquet` with `image_path` and `caption`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.datasets.plain_files import Inside
from pipeline.datasets.raw_files import is_picture
from pipeline.datasets.table_rows import columns_of, rows_of
from pipeline.datasets.walk import walk
from pipeline.encoders.imported import read_vectors
from pipeline.errors import DataError
from pipeline.inference.found import FoundItem
from pipeline.inference.search import Hit, best_rows
from pipeline.parquet import read_parquet
from pipeline.progress import tqdm

if TYPE_CHECKING:
    from pipeline.inference.model import Aligner

KINDS = ("img", "text")
CAPTIONS = "captions.csv"
_BLOCK = 65536  # rows that are multiplied at a time


def pictures_below(folder: Path) -> list[Path]:
    """The pictures in a folder and its subfolders, by name."""
    ignored: Counter[str] = Counter()
    return [Path(entry.path) for entry in walk(folder, Inside(folder)) if is_picture(entry.name, ignored)]


@dataclass(frozen=True)
class Collection:
    """Unit vectors and what each stands for.

    Attributes:
        vectors: (N, K) float32, or float16 as it is mapped from a file.
        paths: of the pictures; None for a text.
        captions: of each row; of a text, itself.
        failed: reasons by path of the pictures that could not be read, which are no rows.
    """

    vectors: np.ndarray
    paths: Sequence[Path | None]
    captions: Sequence[tuple[str, ...]]
    failed: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.vectors)

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
        return cls(np.concatenate(parts), paths, _captions(paths), failed)

    @classmethod
    def of_texts(cls, aligner: "Aligner", texts: Sequence[str], *, batch_size: int = 32) -> "Collection":
        """Encode texts.

        Raises:
            DataError: there are none.
        """
        vectors = aligner.encode_text(list(texts), batch_size=batch_size)
        return cls(vectors, [None] * len(texts), [(text,) for text in texts])

    @classmethod
    def open(cls, where: Path, aligner: "Aligner") -> "Collection":
        """What is at a path: vectors that `write` or clip-retrieval wrote, a .npy file, or pictures, encoded now.

        Raises:
            DataError: nothing of these is there, or tables and vectors have different numbers of rows.
        """
        where = where.expanduser()
        if where.suffix == ".npy":
            return cls._read([where], [where.with_suffix(".parquet")])
        for kind in KINDS:
            files = sorted(
                (where / f"{kind}_emb").glob(f"{kind}_emb_*.npy"), key=lambda file: (len(file.name), file.name)
            )
            if files:
                tables = [where / "metadata" / f"metadata_{file.stem.rpartition('_')[2]}.parquet" for file in files]
                return cls._read(files, tables)
        if not where.is_dir():
            raise DataError(f"No folder at {where}. Expected a store, a folder of pictures, vectors, or a .npy file.")
        pictures = pictures_below(where)
        if not pictures:
            raise DataError(f"{where} holds neither pictures, nor img_emb/*.npy, nor a feature store (zarr.json).")
        return cls.of_pictures(aligner, pictures)

    @classmethod
    def _read(cls, files: Sequence[Path], tables: Sequence[Path]) -> "Collection":
        parts, paths, captions = [], [], []
        for file, table in zip(files, tables, strict=True):
            part = read_vectors(file)
            parts.append(part)
            columns = _columns(table, len(part))
            paths += [Path(path) if path else None for path in columns["image_path"]]
            captions += [(caption,) if caption else () for caption in columns["caption"]]
        return cls(parts[0] if len(parts) == 1 else np.concatenate(parts), paths, captions)

    def write(self, out: Path) -> list[Path]:
        """Write the vectors and the table beside them; gives the files.

        Raises:
            DataError: the folder holds vectors already.
        """
        kind = "img" if any(self.paths) else "text"
        vectors, table = out / f"{kind}_emb" / f"{kind}_emb_0.npy", out / "metadata" / "metadata_0.parquet"
        if vectors.exists() or table.exists():
            raise DataError(f"{out} holds vectors already; name another folder.")
        for file in (vectors, table):
            file.parent.mkdir(parents=True, exist_ok=True)
        np.save(vectors, self.vectors)
        pq.write_table(
            pa.table({
                "image_path": pa.array([None if path is None else str(path) for path in self.paths], pa.string()),
                "caption": pa.array([of[0] if of else None for of in self.captions], pa.string()),
            }),
            table,
        )  # fmt: skip
        return [vectors, table]

    def search(self, aligner: "Aligner", query: str | Path | Image.Image, k: int = 10) -> list[FoundItem]:
        """The rows nearest to words or to a picture, best first.

        Args:
            query: a text (str), or a picture (PIL image or `Path`).

        Raises:
            DataError: the vectors have another width than those of the aligner; the query cannot be read.
        """
        encode: Callable[[Any], np.ndarray] = aligner.encode_text if isinstance(query, str) else aligner.encode_image
        vector = encode([query])[0]
        if self.vectors.shape[1] != len(vector):
            raise DataError(
                f"The vectors have {self.vectors.shape[1]} numbers, those of this aligner {len(vector)}: they are of "
                "another model. Write them again with: permafrost embed"
            )
        starts = range(0, len(self), _BLOCK)
        blocks = ((np.arange(start, min(start + _BLOCK, len(self))), _unit(self.vectors[start : start + _BLOCK]))
                  for start in starts)  # fmt: skip
        hits: list[Hit] = best_rows(np.arange(len(self)).astype(str), blocks, vector, k)
        return [self._item(int(hit.id), hit.score) for hit in hits]

    def _item(self, row: int, score: float) -> FoundItem:
        path, captions = self.paths[row], self.captions[row]
        return FoundItem(str(row), score, path, None if path is None else path.name, tuple(captions) or (str(row),))


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    unit: np.ndarray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def _columns(table: Path, rows: int) -> dict[str, list[str | None]]:
    """`image_path` and `caption` of some rows; None where there is no table or no such column."""
    names = ("image_path", "caption")
    if not table.is_file():
        return {name: [None] * rows for name in names}
    try:
        read = read_parquet(table)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{table} cannot be read as Parquet: {error}") from error
    if len(read) != rows:
        raise DataError(f"{table} has {len(read)} rows, the vectors beside it {rows}.")
    return {name: read.column(name).to_pylist() if name in read.column_names else [None] * rows for name in names}


def _captions(paths: Sequence[Path]) -> list[tuple[str, ...]]:
    """The captions of pictures: in a .txt beside each, or in captions.csv of a folder above it."""
    tables: dict[Path, dict[Path, list[str]]] = {}
    captions = []
    for path in paths:
        beside = path.with_suffix(".txt")
        if beside.is_file():
            captions.append(tuple(line for line in beside.read_text("utf-8", "replace").splitlines() if line.strip()))
            continue
        own = next((parent for parent in path.resolve().parents if (parent / CAPTIONS).is_file()), None)
        if own is not None and own not in tables:
            tables[own] = _table(own)
        captions.append(tuple(tables[own].get(path.resolve(), ())) if own is not None else ())
    return captions


def _table(folder: Path) -> dict[Path, list[str]]:
    """Captions by picture; none where the table is not of the columns file and caption."""
    table = folder / CAPTIONS
    if not {"file", "caption"} <= set(columns_of(table) or ()):
        return {}
    captions: dict[Path, list[str]] = {}
    for row in rows_of(table, ("file", "caption")):
        if row.reason is None and row.values.get("file") and row.values.get("caption"):
            captions.setdefault((folder / row.values["file"]).resolve(), []).append(str(row.values["caption"]))
    return captions
