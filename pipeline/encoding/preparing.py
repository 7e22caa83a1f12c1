"""Pictures by id to what an image encoder takes: read, decoded, cropped, preprocessed; here or in other processes.

Threads of one process get in each other's way: on 16 cores they prepared 29 pictures a second each, where a core alone
prepares some 260 (JPEGs of 500 x 375 px). Pillow and NumPy copy pixels while they hold Python's lock, and all threads
share one address space, which every large buffer changes twice. That does not matter where a backbone takes most of the
time, on a CPU; a GPU waits for it.

A process gets the rows of the index that a batch needs and opens no index: it may hold millions of ids. What comes back
is 8-bit where the preprocessing allows it (`PixelBytes`).
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from pipeline.config import ImageView
from pipeline.datasets.decode import ImageTable, load_row
from pipeline.encoding.crops import crops
from pipeline.encoding.workers import one_core
from pipeline.errors import DataError
from pipeline.row_map import RowMap

Prepared = torch.Tensor | str  # (3, H, W) float32, with crops (1 + N, 3, H, W); or why there is none


@dataclass(frozen=True)
class PreparedBatch:
    """Images as an encoder takes them.

    Attributes:
        pixels: (n, 3, H, W), with crops (n, 1 + N, 3, H, W), of the n that can be read; empty if n is 0. float32, or
            uint8 codes of a `PixelBytes`.
        reasons: per image that was asked for, why it cannot be read, or None.
    """

    pixels: torch.Tensor
    reasons: list[str | None]

    @classmethod
    def of(cls, prepared: Sequence[Prepared]) -> "PreparedBatch":
        """Stack what could be read."""
        readable = [item for item in prepared if isinstance(item, torch.Tensor)]
        pixels = torch.stack(readable) if readable else torch.empty(0)
        return cls(pixels, [None if isinstance(item, torch.Tensor) else item for item in prepared])


class IndexedImages:
    """The images of an index, by id."""

    def __init__(self, index: Path, bits: int | None = None) -> None:
        self._index, self._bits = index, bits
        self._table = ImageTable(index, bits)
        self._positions = RowMap(self._table.row_ids)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def ids(self) -> list[str]:
        """In the order of the index."""
        return self._table.ids

    def __call__(self, identifier: str) -> Image.Image:
        """An image as RGB; errors as `ImageTable.load`."""
        return self._table.load(int(self._found([identifier])[0]))

    def rows(self, ids: Sequence[str]) -> pa.Table:
        """What a `RowImages` needs to load these images."""
        return self._table.rows(self._found(ids))

    def _found(self, ids: Sequence[str]) -> np.ndarray:
        positions = self._positions.find(ids)
        if (positions < 0).any():
            raise KeyError(ids[int(np.flatnonzero(positions < 0)[0])])
        return positions

    def without_index(self) -> "RowImages":
        """What loads the same images from their `rows`."""
        return RowImages(self._index, self._bits)


class RowImages:
    """Images of an index by id, of those rows that were brought last."""

    def __init__(self, index: Path, bits: int | None = None) -> None:
        self._index, self._bits = index, bits
        self._rows: dict[str, dict[str, Any]] = {}

    def bring(self, ids: Sequence[str], rows: pa.Table) -> None:
        """Take the rows of the next images in place of the former ones."""
        self._rows = dict(zip(ids, rows.to_pylist(), strict=True))

    def __call__(self, identifier: str) -> Image.Image:
        """An image as RGB; errors as `ImageTable.load`."""
        return load_row(self._rows[identifier], self._index, self._bits)


class Preparation:
    """Reads and preprocesses images by id.

    Args:
        load: an id -> an RGB image.
        preprocess: an RGB image -> (3, H, W), float32 or codes of a `PixelBytes`.
        view: its crops are prepared too.
    """

    def __init__(
        self, load: Callable[[str], Image.Image], preprocess: Callable[[Image.Image], torch.Tensor], view: ImageView
    ) -> None:
        self.load, self._preprocess, self._view = load, preprocess, view

    def __call__(self, ids: Sequence[str]) -> PreparedBatch:
        """The images, and the reasons why some cannot be read."""
        return PreparedBatch.of([self._prepared(identifier) for identifier in ids])

    def loading(self, load: Callable[[str], Image.Image]) -> "Preparation":
        """The same from another loader."""
        return Preparation(load, self._preprocess, self._view)

    def _prepared(self, identifier: str) -> Prepared:
        try:
            image = self.load(identifier)
            pixels: torch.Tensor = self._preprocess(image)
            if not self._view.crops:
                return pixels
            parts = crops(image, identifier, self._view.crops, self._view.crop_scale)
            return torch.stack([pixels, *map(self._preprocess, parts)])
        except DataError as error:
            return str(error)
        except ValueError as error:  # some image processors reject shapes that others accept
            return f"the image processor rejects it: {error}"


class PreparationProcesses:
    """A `Preparation` in processes; pixels come back through shared memory.

    The processes start at the first call, and end with this one, also if it is killed.

    Args:
        preparation: with a preprocessing that can be pickled and a loader that can be, or `IndexedImages`.
        workers: number of processes.
    """

    def __init__(self, preparation: Preparation, workers: int) -> None:
        self._rows: Callable[[Sequence[str]], pa.Table] | None = None
        if isinstance(preparation.load, IndexedImages):
            self._rows = preparation.load.rows
            preparation = preparation.loading(preparation.load.without_index())
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(pickle.dumps(preparation),),
        )

    def __call__(self, ids: Sequence[str]) -> PreparedBatch:
        """As `Preparation`, called from several threads at once.

        Raises:
            DataError: a process has ended before its time.
        """
        try:
            rows = None if self._rows is None else self._rows(ids)
            return self._pool.submit(_prepare, tuple(ids), rows).result()
        except BrokenProcessPool as error:
            raise DataError(
                "A process that decodes images has ended, most often because memory was short, or shared memory "
                "(/dev/shm) in a container. Lower encode.workers or encode.batch_size in params.yaml, or set "
                "encode.decode: threads."
            ) from error


_preparation: Preparation | None = None  # of a process that prepares images


def _begin(pickled: bytes) -> None:
    """Set up a process: one core, no part in Ctrl-C, and no life after the process that started it."""
    from pipeline.torchvision_fix import ensure_torchvision

    global _preparation
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
    one_core()
    ensure_torchvision()
    _preparation = pickle.loads(pickled)  # made by the parent, never read from anywhere


def _prepare(ids: tuple[str, ...], rows: pa.Table | None) -> PreparedBatch:
    """The images that can be read as one tensor, which goes back as shared memory, and per id why it cannot be."""
    assert _preparation is not None
    if rows is not None:
        assert isinstance(_preparation.load, RowImages)
        _preparation.load.bring(ids, rows)
    return _preparation(ids)
