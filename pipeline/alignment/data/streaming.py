"""Features that do not fit: read from the shards as training goes, in the order of a block shuffle."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch, empty_batch, sent
from pipeline.alignment.data.columns import as_images, as_texts
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.features.shuffle import BlockShuffle
from pipeline.features.span import Span
from pipeline.features.stream import Side, StreamedBatch, stream, window_blocks


def in_reading_order(pairs: Tensor) -> Tensor:
    """Pairs (P, 2) by image row, then by text row: blocks of them then lie together in the image stores."""
    rows = pairs.numpy()
    return torch.from_numpy(rows[np.lexsort((rows[:, 1], rows[:, 0]))])


@dataclass(frozen=True)
class StreamedFeatures:
    """Stores that are read again every epoch; rows are positions over all stores of a view in turn.

    Attributes:
        image_columns, text_columns: as the module `columns` makes them.
        device: where batches arrive.
        block: consecutive pairs that are read together.
        memory: bytes that the windows in which pairs are mixed may take, the one in use and the next together.
    """

    image_columns: tuple[Span, ...]
    text_columns: tuple[Span, ...]
    device: torch.device
    block: int
    memory: int

    @property
    def vision_dim(self) -> int:
        """Width of the image features."""
        return self.image_columns[0].shape[-1]

    @property
    def text_dim(self) -> int:
        """Width of the text features."""
        return self.text_columns[0].shape[-1]

    def read_images(self, rows: Tensor) -> ImageInput:
        """The given images (n,), on the device."""
        return as_images(_read(self.image_columns, rows)).to(self.device)

    def read_texts(self, rows: Tensor) -> TextInput:
        """The given captions (n,), on the device."""
        return as_texts(_read(self.text_columns, rows)).to(self.device)

    def shuffle(self, pairs: Tensor) -> BlockShuffle:
        """How these pairs are mixed."""
        return BlockShuffle(len(pairs), self.block, window_blocks(self._sides(pairs), self.block, self.memory))

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`; the order comes from the seed of `generator` and `number`.

        Any order of `pairs` is right; that of `in_reading_order` is fast.
        """
        batches = stream(
            self._sides(pairs),
            self.shuffle(pairs),
            batch_size,
            seed=generator.initial_seed(),
            epoch=number,
            skip=skip,
            allocate=self._allocate,
        )
        with closing(batches):
            yield from sent((_joined(batch, pairs) for batch in batches), self.device)

    def _sides(self, pairs: Tensor) -> tuple[Side, Side]:
        rows = pairs.numpy()
        return Side(rows[:, 0], self.image_columns), Side(rows[:, 1], self.text_columns)

    def _allocate(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        plain = empty_batch((int(np.prod(shape)) * dtype.itemsize,), torch.uint8, self.device)
        return plain.numpy().view(dtype).reshape(shape)


def _joined(batch: StreamedBatch, pairs: Tensor) -> PairBatch:
    """The batch as a head takes it, in host memory."""
    images, texts = batch.sides
    rows = pairs[torch.from_numpy(batch.pairs)]
    return PairBatch(as_images(images), as_texts(texts), rows[:, 0], rows[:, 1])


def _read(columns: Sequence[Span], rows: Tensor) -> list[np.ndarray]:
    return [column.take(rows.cpu().numpy()) for column in columns]
