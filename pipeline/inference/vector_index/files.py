"""An index on disk: `index.json` and a few .npy files, checked before anything is made of them."""

import json
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.errors import DataError
from pipeline.files import write_json
from pipeline.inference.vector_index.library import Arrays, books_shape
from pipeline.inference.vector_index.plan import Kind, Plan
from pipeline.inference.vectors import VectorRows
from pipeline.plain import open_regular, read_regular

ABOUT = "index.json"
NAMES = ("centroids", "books", "sizes", "positions", "codes")
_MOST = 1 << 20  # bytes of index.json
_PIECE = 16 << 20
_INSIDE, _SUFFIX = "index", ".index"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SourceFile(_Model):
    """A file of vectors as it was when they were indexed."""

    name: str
    size: int
    changed: int  # nanoseconds


class Recall(_Model):
    """How many of the true nearest rows an index finds.

    Attributes:
        k: rows that are asked for.
        queries: on how many it was measured, none of which had a part in choosing `probes`.
        kind: what they are.
        value: share of the true `k` nearest that are among the found.
        by_probes: the same by lists that are searched, on other queries, from which `probes` was chosen.
    """

    k: int
    queries: int
    kind: str
    value: float = Field(ge=0, le=1)
    by_probes: dict[str, float]


class About(_Model):
    """What `index.json` says.

    Attributes:
        rows, width, dtype, digest: of the vectors.
        files: of the vectors, where they came from files.
        probes: lists that are searched for a query.
        rescored: candidates for each row asked for, which are compared by the vectors themselves.
        checksums: XXH3-128 of each array.
    """

    format: Literal[1]
    kind: Kind
    rows: int = Field(ge=0, le=1 << 40)
    width: int = Field(ge=1, le=1 << 20)
    dtype: str
    digest: str
    files: list[SourceFile]
    lists: int = Field(ge=0, le=1 << 24)
    code: int = Field(ge=0, le=1 << 20)
    probes: int = Field(ge=0, le=1 << 24)
    rescored: int = Field(ge=1, le=10_000)
    seed: int
    seconds: float = Field(ge=0)
    recall: Recall | None
    checksums: dict[str, str]

    @property
    def plan(self) -> Plan:
        """Its form."""
        return Plan(self.kind, self.lists, self.code)


def index_folder(path: Path) -> Path:
    """Where the index of a folder of vectors lies, in it, or that of a .npy file, beside it."""
    return path.with_name(path.name + _SUFFIX) if path.suffix == ".npy" else path / _INSIDE


def indexed_path(folder: Path) -> Path:
    """What an index is of: the other way round."""
    return folder.parent if folder.name == _INSIDE else folder.with_name(folder.name.removesuffix(_SUFFIX))


def source_files(vectors: VectorRows) -> list[SourceFile]:
    """What tells whether files of vectors were changed since."""
    found = [(file.name, file.stat()) for file in vectors.files]
    return [SourceFile(name=name, size=stat.st_size, changed=stat.st_mtime_ns) for name, stat in found]


def write_index(about: About, arrays: Arrays | None, folder: Path) -> None:
    """Write an index in place of the one that is there, whole or not at all.

    Raises:
        DataError: the folder holds something else.
    """
    if folder.exists() and not (folder / ABOUT).is_file():
        raise DataError(f"{folder} is there and is no index. Remove it, or name another folder.")
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    checksums = {}
    for name in NAMES if arrays is not None else ():
        array = np.ascontiguousarray(getattr(arrays, name))
        np.save(partial / f"{name}.npy", array)
        checksums[name] = _checksum(array)
    write_json(about.model_copy(update={"checksums": checksums}).model_dump(), partial / ABOUT)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def read_about(folder: Path) -> About:
    """What an index says of itself.

    Raises:
        DataError: there is none, or it is damaged or of another format.
    """
    path = folder / ABOUT
    if not path.is_file():
        raise DataError(f"No index at {folder}. Build it with: permafrost index {indexed_path(folder)}")
    try:
        content = json.loads(read_regular(path, _MOST))
        about = About.model_validate(content)
    except (OSError, ValueError, RecursionError, ValidationError) as error:
        raise _damaged(path, str(error).splitlines()[0]) from error
    flat = about.kind == "flat"
    whole = flat or (0 < about.lists <= about.rows and 0 < about.probes <= about.lists)
    fits = flat or (
        about.code == about.width if about.kind == "ivf-sq8" else about.code and not about.width % about.code
    )
    if not whole or not fits:
        raise _damaged(path, "its numbers do not fit together")
    return about


def read_arrays(folder: Path, about: About) -> Arrays:
    """The arrays of an index, compared with their checksums, shapes and bounds.

    Raises:
        DataError: one is missing, damaged or impossible.
    """
    shapes: dict[str, tuple[type, tuple[int, ...]]] = {
        "centroids": (np.float32, (about.lists, about.width)),
        "books": (np.float32, books_shape(about.plan, about.width)),
        "sizes": (np.int64, (about.lists,)),
        "positions": (np.int64, (about.rows,)),
        "codes": (np.uint8, (about.rows, about.code)),
    }
    arrays = {name: _array(folder / f"{name}.npy", *shapes[name], about.checksums.get(name)) for name in NAMES}
    for name in ("centroids", "books"):
        if not np.isfinite(arrays[name]).all():
            raise _damaged(folder / f"{name}.npy", "it holds numbers that are not finite")
    sizes, positions = arrays["sizes"], arrays["positions"]
    if (sizes < 0).any() or (sizes > about.rows).any() or int(sizes.sum()) != about.rows:
        raise _damaged(folder / "sizes.npy", f"its lists do not hold {about.rows} vectors")
    seen = np.zeros(about.rows, dtype=bool)
    if about.rows and positions.min() >= 0 and positions.max() < about.rows:
        seen[positions] = True
    if not seen.all():
        raise _damaged(folder / "positions.npy", f"it does not name each of {about.rows} rows once")
    return Arrays(**arrays)


def require_current(about: About, vectors: VectorRows, folder: Path) -> None:
    """Check that an index is of some vectors: by size and time of their files, or else by every number.

    Raises:
        DataError: they are other ones.
    """
    shape = (len(vectors), vectors.width, vectors.dtype.name)
    if shape == (about.rows, about.width, about.dtype):
        if vectors.files and source_files(vectors) == about.files:
            return
        if vectors.digest() == about.digest:
            return
        found = "some of their numbers are others"
    else:
        found = f"it is of {about.rows} x {about.width} {about.dtype}, they are {shape[0]} x {shape[1]} {shape[2]}"
    raise DataError(
        f"{folder} was built from other vectors than those beside it: {found}. Build it again with: "
        f"permafrost index {indexed_path(folder)}, or search without it."
    )


def _array(path: Path, dtype: type, shape: tuple[int, ...], checksum: str | None) -> np.ndarray:
    try:
        open_regular(path).close()
        array: Any = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise _damaged(path, f"expected {np.dtype(dtype)} {shape}, found {found}")
    if not array.flags.c_contiguous or _checksum(array) != checksum:
        raise _damaged(path, "it does not have the checksum that was written with it")
    return array


def _checksum(array: np.ndarray) -> str:
    running, flat = xxhash.xxh3_128(), array.reshape(-1).view(np.uint8)
    for start in range(0, len(flat), _PIECE):
        running.update(flat[start : start + _PIECE].data)
    return running.hexdigest()


def _damaged(path: Path, why: str) -> DataError:
    return DataError(
        f"{path} is damaged: {why}. Build the index again with: permafrost index {indexed_path(path.parent)}"
    )
