"""Features of one machine's processes: they stay in the mapped stores, whose pages all of them share."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic

import numpy as np
import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch, epoch_batches, send
from pipeline.alignment.data.columns import Columns
from pipeline.alignment.data.inputs import ImageInput, Input, TextInput
from pipeline.alignment.processes import Processes
from pipeline.features.ahead import ahead

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class SharedSide(Generic[Input]):
    """Features of one side in stores.

    Attributes:
        places: (N,) int64, of each distinct image or caption its position in `columns`.
        device: of the trainer.
    """

    columns: Columns[Input]
    places: np.ndarray
    device: torch.device

    @property
    def width(self) -> int:
        """Of the features."""
        return self.columns.width

    def read(self, rows: Tensor) -> Input:
        """The given rows, (n,) int64, on the device."""
        return self.collect(rows).to(self.device)

    def collect(self, rows: Tensor) -> Input:
        """The given rows (n,) in host memory that can be copied to the device in the background."""
        taken = self.columns.take(self.places[rows.cpu().numpy()])
        return taken.map(torch.Tensor.pin_memory) if self.device.type == "cuda" else taken


class SharedFeatures:
    """All features in full permutation every epoch, as `ResidentFeatures`, without a copy of them in this process.

    Args:
        images, texts: what is read.
        image_set, text_set: (N,) int64, positions in them of the distinct images and captions.
        device: where batches arrive; they are read ahead of time.
        processes: each reads the rows of its share of every batch.
    """

    def __init__(
        self,
        images: Columns[ImageInput],
        texts: Columns[TextInput],
        image_set: np.ndarray,
        text_set: np.ndarray,
        device: torch.device,
        processes: Processes,
    ) -> None:
        self.device, self._processes = device, processes
        self.images, self.texts = SharedSide(images, image_set, device), SharedSide(texts, text_set, device)

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`; the order is that of `ResidentFeatures`."""
        del number
        batches = (pairs[rows] for rows in epoch_batches(len(pairs), batch_size, generator, skip))
        with closing(ahead(map(self._collect, batches), _BATCHES_AHEAD)) as collected:
            yield from send(collected, self.device)

    def _collect(self, pairs: Tensor) -> PairBatch:
        images, texts = pairs.T.contiguous()
        own = self._processes.share(len(pairs))
        return PairBatch(self.images.collect(images[own]), self.texts.collect(texts[own]), images, texts)
