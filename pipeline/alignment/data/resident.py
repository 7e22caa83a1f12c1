"""Features that fit into memory: on the device, or on the host and sent batch by batch."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic

import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch, epoch_batches, host_buffer, send
from pipeline.alignment.data.inputs import ImageInput, Input, TextInput
from pipeline.alignment.processes import ALONE, Processes
from pipeline.features.ahead import ahead

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class ResidentSide(Generic[Input]):
    """All features of one side as tensors.

    Attributes:
        inputs: one row per distinct image or caption.
        device: of the trainer.
    """

    inputs: Input
    device: torch.device

    @property
    def width(self) -> int:
        """Of the features."""
        return self.inputs.width

    def read(self, rows: Tensor) -> Input:
        """The given rows, (n,) int64, on the device."""
        return self.inputs.take(rows.to(self.inputs.device)).to(self.device)

    def collect(self, rows: Tensor) -> Input:
        """The given rows (n,) in host memory that can be copied to the device in the background."""

        def select(values: Tensor) -> Tensor:
            out = host_buffer((len(rows), *values.shape[1:]), values.dtype, self.device)
            return torch.index_select(values, 0, rows, out=out)

        return self.inputs.map(select)


class ResidentFeatures:
    """All features as tensors, in full permutation every epoch.

    Args:
        images: one row per distinct image.
        texts: one row per distinct caption.
        device: where batches arrive. If the features are elsewhere, batches are gathered there ahead of time and sent.
        processes: of several, each has all features, and takes its share of every batch.
    """

    def __init__(
        self, images: ImageInput, texts: TextInput, device: torch.device, processes: Processes = ALONE
    ) -> None:
        self.device, self._processes = device, processes
        self.images, self.texts = ResidentSide(images, device), ResidentSide(texts, device)

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`; the order comes from the state of `generator`, which each epoch advances."""
        del number
        batches = (pairs[rows.to(pairs.device)] for rows in epoch_batches(len(pairs), batch_size, generator, skip))
        if self.images.inputs.device == self.device:
            yield from map(self._read, batches)
            return
        with closing(ahead(map(self._collect, batches), _BATCHES_AHEAD)) as collected:
            yield from send(collected, self.device)

    def _read(self, pairs: Tensor) -> PairBatch:
        images, texts = pairs.unbind(dim=1)
        own = self._processes.share(len(pairs))
        return PairBatch(self.images.read(images[own]), self.texts.read(texts[own]), images, texts)

    def _collect(self, pairs: Tensor) -> PairBatch:
        """The same in host memory that can be copied to the device in the background."""
        images, texts = pairs.T.contiguous()
        own = self._processes.share(len(pairs))
        return PairBatch(self.images.collect(images[own]), self.texts.collect(texts[own]), images, texts)
