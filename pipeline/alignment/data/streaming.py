"""Features that do not fit into memory: read from the shards during training, in the order of a block shuffle."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch, host_buffer, send
from pipeline.alignment.data.columns import Columns
from pipeline.alignment.data.inputs import ImageInput, Input, TextInput
from pipeline.alignment.processes import ALONE, Processes
from pipeline.features.shuffle import BlockShuffle
from pipeline.features.stream import Side, StreamedBatch, stream, window_blocks


def reading_order(pairs: Tensor) -> np.ndarray:
    """Where pairs (P, 2) go, (P,) int64: by image row, then by text row, so that blocks are contiguous in the stores
    of images."""
    rows = pairs.numpy()
    return np.lexsort((rows[:, 1], rows[:, 0]))


def in_reading_order(pairs: Tensor) -> Tensor:
    """Pairs (P, 2) in `reading_order`."""
    return torch.from_numpy(pairs.numpy()[reading_order(pairs)])


@dataclass(frozen=True)
class StreamedSide(Generic[Input]):
    """Features of one side in stores; rows are positions over all stores of a view in turn."""

    columns: Columns[Input]
    device: torch.device

    @property
    def width(self) -> int:
        """Of the features."""
        return self.columns.width

    def read(self, rows: Tensor) -> Input:
        """The given rows, (n,) int64, on the device."""
        return self.columns.take(rows.cpu().numpy()).to(self.device)


class StreamedFeatures:
    """Stores that are read anew every epoch.

    Args:
        images, texts: what is read.
        device: where batches arrive.
        block: number of consecutive pairs that are read together.
        memory: bytes for the windows in which pairs are mixed, the current one and the next together.
        processes: of several, each reads the rows of its share of every batch.
    """

    def __init__(
        self,
        images: Columns[ImageInput],
        texts: Columns[TextInput],
        device: torch.device,
        block: int,
        memory: int,
        processes: Processes = ALONE,
    ) -> None:
        self.device, self._block, self._memory, self._processes = device, block, memory, processes
        self.images, self.texts = StreamedSide(images, device), StreamedSide(texts, device)

    def shuffle(self, pairs: Tensor) -> BlockShuffle:
        """How these pairs are mixed."""
        return BlockShuffle(len(pairs), self._block, window_blocks(self._sides(pairs), self._block, self._memory))

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`; the order comes from the seed of `generator` and `number`.

        Any order of `pairs` is correct; that of `in_reading_order` is fast.
        """
        shuffle, seed = self.shuffle(pairs), generator.initial_seed()
        several = self._processes.several
        batches = stream(
            self._sides(pairs),
            shuffle,
            batch_size,
            seed=seed,
            epoch=number,
            skip=skip,
            allocate=self._allocate,
            share=self._processes.share if several else None,
        )
        whole = islice(shuffle.batches(batch_size, seed, number), skip, None) if several else None
        with closing(batches):
            read = (
                self._batch(batch, pairs[torch.from_numpy(batch.pairs if whole is None else next(whole))])
                for batch in batches
            )
            yield from send(read, self.device)

    def _sides(self, pairs: Tensor) -> tuple[Side, Side]:
        rows = pairs.numpy()
        return Side(rows[:, 0], self.images.columns.arrays), Side(rows[:, 1], self.texts.columns.arrays)

    def _batch(self, batch: StreamedBatch, pairs: Tensor) -> PairBatch:
        """The batch as a head takes it, in host memory.

        Args:
            pairs: (B, 2), those of the whole batch.
        """
        images, texts = batch.sides
        image_ids, text_ids = pairs.unbind(dim=1)
        return PairBatch(self.images.columns.inputs(images), self.texts.columns.inputs(texts), image_ids, text_ids)

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        plain = host_buffer((int(np.prod(shape)) * dtype.itemsize,), torch.uint8, self.device)
        return plain.numpy().view(dtype).reshape(shape)
