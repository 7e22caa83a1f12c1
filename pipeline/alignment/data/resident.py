"""Features that fit: on the device, or in host memory and sent batch by batch."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch, empty_batch, epoch_batches, sent
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.features.ahead import ahead

_BATCHES_AHEAD = 2


@dataclass(frozen=True)
class ResidentFeatures:
    """All features as tensors, in full permutation every epoch.

    Attributes:
        images: one row per distinct image.
        texts: one row per distinct caption.
        device: where batches arrive. Where it is not that of the features, batches are gathered and sent ahead.
    """

    images: ImageInput
    texts: TextInput
    device: torch.device

    @property
    def vision_dim(self) -> int:
        """Width of the image features."""
        return self.images.cls.shape[-1]

    @property
    def text_dim(self) -> int:
        """Width of the text features."""
        return self.texts.tokens.shape[-1]

    def read_images(self, rows: Tensor) -> ImageInput:
        """The given images (n,), on the device."""
        return self.images.take(rows.to(self.images.cls.device)).to(self.device)

    def read_texts(self, rows: Tensor) -> TextInput:
        """The given captions (n,), on the device."""
        return self.texts.take(rows.to(self.texts.tokens.device)).to(self.device)

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`; the order comes from the state of `generator`, which each epoch moves on."""
        del number
        orders = epoch_batches(len(pairs), batch_size, generator, skip)
        if self.images.cls.device == self.device:
            for rows in orders:
                yield self._gather(pairs[rows.to(pairs.device)])
            return
        collected = ahead((self._collect(pairs[rows.to(pairs.device)]) for rows in orders), _BATCHES_AHEAD)
        with closing(collected):
            yield from sent(collected, self.device)

    def _gather(self, pairs: Tensor) -> PairBatch:
        images, texts = pairs[:, 0], pairs[:, 1]
        return PairBatch(self.images.take(images), self.texts.take(texts), images, texts)

    def _collect(self, pairs: Tensor) -> PairBatch:
        """The same in host memory from which the device can fetch by itself."""
        images, texts = pairs[:, 0].contiguous(), pairs[:, 1].contiguous()
        mask = self.texts.mask
        return PairBatch(
            ImageInput(self._pick(self.images.cls, images), self._pick(self.images.local, images)),
            TextInput(self._pick(self.texts.tokens, texts), None if mask is None else self._pick(mask, texts)),
            images,
            texts,
        )

    def _pick(self, values: Tensor, rows: Tensor) -> Tensor:
        out = empty_batch((len(rows), *values.shape[1:]), values.dtype, self.device)
        return torch.index_select(values, 0, rows, out=out)
