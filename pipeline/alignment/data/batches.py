"""What the trainer sees of the features: batches of pairs on its device, wherever the features lie."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.features.shuffle import batch_sizes


@dataclass(frozen=True)
class PairBatch:
    """B pairs on the device of the trainer.

    Attributes:
        images, texts: their features, pair by pair.
        image_ids, text_ids: (B,) int64, equal for equal images and for equal captions.
    """

    images: ImageInput
    texts: TextInput
    image_ids: Tensor
    text_ids: Tensor

    def __len__(self) -> int:
        return len(self.image_ids)

    def to(self, device: torch.device) -> "PairBatch":
        """The same on `device`, which fetches pinned memory by itself: that must stay untouched until it has."""
        return PairBatch(
            self.images.to(device, non_blocking=True),
            self.texts.to(device, non_blocking=True),
            self.image_ids.to(device, non_blocking=True),
            self.text_ids.to(device, non_blocking=True),
        )


class AlignerFeatures(Protocol):
    """Features of the images and captions of an aligner; rows are int64 positions of an image or a caption."""

    @property
    def device(self) -> torch.device:
        """Where batches arrive."""

    @property
    def vision_dim(self) -> int:
        """Width of the image features."""

    @property
    def text_dim(self) -> int:
        """Width of the text features."""

    def read_images(self, rows: Tensor) -> ImageInput:
        """The given images (n,), on the device."""

    def read_texts(self, rows: Tensor) -> TextInput:
        """The given captions (n,), on the device."""

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """The pairs (P, 2), image row and text row, each exactly once, in batches of sizes equal to within 1.

        Equal sizes keep the number of negatives the same for every pair.

        Args:
            generator: fixes the order; the same one is given for every epoch of a training.
            number: of the epoch; each has another order.
            skip: leave out that many batches at the beginning, as far as possible without reading them.
        """


def epoch_batches(pairs: int, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Tensor]:
    """Positions in full permutation, in batches: every pair exactly once, sizes equal to within 1; less the first."""
    order = torch.randperm(pairs, generator=generator)
    yield from torch.split(order, batch_sizes(pairs, batch_size))[skip:]


def sent(batches: Iterable[PairBatch], device: torch.device) -> Iterator[PairBatch]:
    """Batches in host memory, brought to `device` one by one; a GPU computes meanwhile."""
    for batch in batches:
        there = batch.to(device)
        copied = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        yield there
        if copied is not None:
            copied.synchronize()  # `batch` lives up to here, and the step that uses the copy is under way


def empty_batch(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Host memory for rows bound for `device`: pinned where that lets the copy overlap with computing."""
    return torch.empty(shape, dtype=dtype, pin_memory=device.type == "cuda")
