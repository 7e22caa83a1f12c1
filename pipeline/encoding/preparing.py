"""Pictures by id to what an image encoder takes: read, decoded, cropped, preprocessed; here or in other processes.

Threads of one process get in each other's way: on 16 cores they prepared 29 pictures a second each, where a core alone
prepares some 260 (JPEGs of 500 x 375 px). Pillow and NumPy copy pixels while they hold Python's lock, and all threads
share one address space, which every large buffer changes twice. That does not matter where a backbone takes most of the
time, on a CPU; a GPU waits for it.
"""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path

import torch
from PIL import Image

from pipeline.config import ImageView
from pipeline.datasets.decode import ImageTable
from pipeline.encoding.crops import crops
from pipeline.encoding.workers import one_core
from pipeline.errors import DataError

Prepared = torch.Tensor | str  # (3, H, W) float32, with crops (1 + N, 3, H, W); or why there is none


class IndexedImages:
    """The images of an index, by id. It can be pickled, and is opened again where it arrives.

    Attributes:
        ids: in the order of the index.
    """

    def __init__(self, index: Path) -> None:
        self._index = index
        self._table = ImageTable(index)
        self.ids = self._table.ids
        self._position = {identifier: row for row, identifier in enumerate(self.ids)}

    def __call__(self, identifier: str) -> Image.Image:
        """An image as RGB; errors as `ImageTable.load`."""
        return self._table.load(self._position[identifier])

    def __reduce__(self) -> tuple[type["IndexedImages"], tuple[Path]]:
        return IndexedImages, (self._index,)


class Preparation:
    """Reads and preprocesses images by id.

    Args:
        load: an id -> an RGB image.
        preprocess: an RGB image -> (3, H, W) float32.
        view: its crops are prepared too.
    """

    def __init__(
        self, load: Callable[[str], Image.Image], preprocess: Callable[[Image.Image], torch.Tensor], view: ImageView
    ) -> None:
        self._load, self._preprocess, self._view = load, preprocess, view

    def __call__(self, ids: Sequence[str]) -> list[Prepared]:
        """Each image, or the reason why it cannot be read."""
        return [self._prepared(identifier) for identifier in ids]

    def _prepared(self, identifier: str) -> Prepared:
        try:
            image = self._load(identifier)
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
        preparation: with a loader and a preprocessing that can be pickled.
        workers: number of processes.
    """

    def __init__(self, preparation: Preparation, workers: int) -> None:
        self._pool = ProcessPoolExecutor(
            workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin,
            initargs=(pickle.dumps(preparation),),
        )

    def __call__(self, ids: Sequence[str]) -> list[Prepared]:
        """As `Preparation`, called from several threads at once.

        Raises:
            DataError: a process has ended before its time.
        """
        try:
            pixels, reasons = self._pool.submit(_prepare, tuple(ids)).result()
        except BrokenProcessPool as error:
            raise DataError(
                "A process that decodes images has ended, most often because memory was short, or shared memory "
                "(/dev/shm) in a container. Lower encode.workers or encode.batch_size in params.yaml, or set "
                "encode.decode: threads."
            ) from error
        whole = iter(pixels)
        return [next(whole) if reason is None else reason for reason in reasons]


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


def _prepare(ids: tuple[str, ...]) -> tuple[torch.Tensor, list[str | None]]:
    """The images that can be read as one tensor, which goes back as shared memory, and per id why it cannot be."""
    assert _preparation is not None
    prepared = _preparation(ids)
    readable = [item for item in prepared if isinstance(item, torch.Tensor)]
    pixels = torch.stack(readable) if readable else torch.empty(0)
    return pixels, [None if isinstance(item, torch.Tensor) else item for item in prepared]
