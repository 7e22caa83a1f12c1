"""What the trainer sees of the features: batches of pairs on its device, wherever the features are stored."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, SideInput, TensorFunction, TextInput
from pipeline.features.shuffle import batch_sizes

InputCo = TypeVar("InputCo", bound=SideInput, covariant=True)


@dataclass(frozen=True)
class PairBatch:
    """B pairs on the device of the trainer.

    Attributes:
        images, texts: their features, pair by pair; where several processes train, of the share of this one.
        image_ids, text_ids: (B,) int64, equal for equal images and for equal captions.
    """

    images: ImageInput
    texts: TextInput
    image_ids: Tensor
    text_ids: Tensor

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in a fixed order."""
        return *self.images.tensors, *self.texts.tensors, self.image_ids, self.text_ids

    def map(self, function: TensorFunction) -> "PairBatch":
        """The same with `function` applied to every tensor."""
        return PairBatch(
            self.images.map(function), self.texts.map(function), function(self.image_ids), function(self.text_ids)
        )

    def map_features(self, function: TensorFunction) -> "PairBatch":
        """As `map`, but only for features: masks and ids are kept."""
        images, texts = self.images.map_features(function), self.texts.map_features(function)
        return PairBatch(images, texts, self.image_ids, self.text_ids)

    def to(self, device: torch.device) -> "PairBatch":
        """The same on `device`. Pinned memory is copied in the background and must not change until that is done."""
        return self.map(lambda x: x.to(device, non_blocking=True))


class SideFeatures(Protocol[InputCo]):
    """Features of one side of the pairs, images or captions."""

    @property
    def width(self) -> int:
        """Of the features."""

    def read(self, rows: Tensor) -> InputCo:
        """The given rows, (n,) int64, on the device of the trainer."""


class AlignerFeatures(Protocol):
    """Features of the images and captions of an aligner."""

    @property
    def device(self) -> torch.device:
        """Of the trainer: where batches arrive."""

    @property
    def images(self) -> SideFeatures[ImageInput]:
        """One row per image."""

    @property
    def texts(self) -> SideFeatures[TextInput]:
        """One row per caption."""

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """The pairs (P, 2), image row and text row, each exactly once, in batches of sizes equal to within 1.

        Equal sizes keep the number of negatives the same for every pair. Where several processes train, all have the
        same order, and each reads the features of its own share of every batch.

        Args:
            generator: fixes the order; the same one is given for every epoch of a training.
            number: of the epoch; each has another order.
            skip: leave out that many batches at the beginning, as far as possible without reading them.
        """


def epoch_batches(pairs: int, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Tensor]:
    """Positions of all pairs, shuffled and cut into batches of sizes equal to within 1, without the first `skip`."""
    order = torch.randperm(pairs, generator=generator)
    yield from torch.split(order, batch_sizes(pairs, batch_size))[skip:]


def send(batches: Iterable[PairBatch], device: torch.device) -> Iterator[PairBatch]:
    """Batches in host memory, copied to `device` one by one while a GPU computes."""
    for batch in batches:
        copy = batch.to(device)
        copied = torch.cuda.current_stream(device).record_event() if device.type == "cuda" else None
        yield copy
        if copied is not None:
            copied.synchronize()  # `batch` must live until here; the step that uses the copy is already queued


def host_buffer(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Empty host memory for rows bound for `device`: pinned where that lets the copy overlap with computing."""
    return torch.empty(shape, dtype=dtype, pin_memory=device.type == "cuda")
