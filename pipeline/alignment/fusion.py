"""Fused sides of an aligner: each view in them is brought to one scale, measured on the training split of a repeat.

Features are read as they are stored, side by side. A head is fitted to them through these maps and saved behind them,
so that everything after it takes stored features again.

Shapes: B rows, T tokens, D the features of all views in a row.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Generic

import torch
from torch import Tensor

from pipeline.alignment.closed_form.linear import whitening
from pipeline.alignment.closed_form.moments import Moments, MomentSums
from pipeline.alignment.closed_form.usable import require_spread
from pipeline.alignment.data.batches import AlignerFeatures, PairBatch, SideFeatures
from pipeline.alignment.data.inputs import ImageInput, Input, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.fitted import Affine, Blocks, Scaled
from pipeline.alignment.heads.vectors import text_vector
from pipeline.alignment.heads.whitened import Whitened, mapped_images, mapped_texts
from pipeline.config import FusedView, Side

_BLOCK = 4096


@dataclass(frozen=True)
class InputMaps:
    """What the fused sides of an aligner go through; None for a side that is not fused, or has no local tokens."""

    cls: Blocks | None = None
    local: Blocks | None = None
    text: Blocks | None = None


def input_maps(data: AlignmentData, repeat: int) -> InputMaps | None:
    """The maps of the train split of `repeat`, each image and each caption counted once; None where nothing is fused.

    Raises:
        DataError: the features of a view are not finite, or are all the same.
    """
    if not data.fusions:
        return None
    cls, local = _side(data, repeat, "image") if "image" in data.fusions else (None, None)
    text, _ = _side(data, repeat, "text") if "text" in data.fusions else (None, None)
    return InputMaps(cls, local, text)


def through(data: AlignmentData, maps: InputMaps | None) -> AlignmentData:
    """The same data with features as the head behind these maps sees them, float32."""
    return data if maps is None else replace(data, features=MappedFeatures(data.features, maps), fusions={})


def behind(head: Head, maps: InputMaps | None) -> Head:
    """The head for features as they are stored."""
    if maps is None:
        return head
    image = None if maps.cls is None else (maps.cls, maps.local)
    return Whitened(head, image, maps.text)


class MappedFeatures:
    """Features behind maps: read as `features` reads them, then mapped on the device."""

    def __init__(self, features: AlignerFeatures, maps: InputMaps) -> None:
        self._features, self._maps = features, maps
        self.device = features.device
        self.images: SideFeatures[ImageInput] = _MappedSide(features.images, self._map_images)
        self.texts: SideFeatures[TextInput] = _MappedSide(features.texts, self._map_texts)

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`."""
        for batch in self._features.epoch(pairs, batch_size, generator, number, skip):
            images, texts = self._map_images(batch.images), self._map_texts(batch.texts)
            yield PairBatch(images, texts, batch.image_ids, batch.text_ids)

    def _map_images(self, images: ImageInput) -> ImageInput:
        return mapped_images(images, self._maps.cls, self._maps.local)

    def _map_texts(self, texts: TextInput) -> TextInput:
        return mapped_texts(texts, self._maps.text)


@dataclass(frozen=True)
class _MappedSide(Generic[Input]):
    side: SideFeatures[Input]
    map: Callable[[Input], Input]

    @property
    def width(self) -> int:
        """Of the features, which no map changes."""
        return self.side.width

    def read(self, rows: Tensor) -> Input:
        """See `SideFeatures`."""
        return self.map(self.side.read(rows))


def _side(data: AlignmentData, repeat: int, side: Side) -> tuple[Blocks, Blocks | None]:
    """Maps of the vectors of one side and, of images that have some, of their local tokens as their means are."""
    fusion = data.fusions[side]
    sums = [MomentSums() for _ in fusion.widths]
    has_local = False
    for vectors, local in _vectors(data, repeat, side):
        has_local = local is not None
        parts = [torch.split(part, list(fusion.widths), 1) for part in (vectors, vectors if local is None else local)]
        for total, first, second in zip(sums, *parts, strict=True):
            total.add(first, second)
    moments = [total.moments() for total in sums]
    where = f"the train split of repeat {repeat}"
    for view, of_view in zip(fusion.view.concat, moments, strict=True):
        require_spread(of_view.mean_x, of_view.cov_xx.diagonal(), f"{side} features of view {view!r} in {where}")
        require_spread(of_view.mean_y, of_view.cov_yy.diagonal(), f"{side} features of view {view!r} in {where}")
    device = data.features.device
    of_vectors = Blocks([_fitted(fusion.view, one) for one in moments]).to(device)
    of_local = Blocks([_fitted(fusion.view, one.swapped()) for one in moments]).to(device)
    return of_vectors, of_local if has_local else None


def _vectors(data: AlignmentData, repeat: int, side: Side) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Of every distinct training row of one side its vector (B, D) and, of images, the mean of its local tokens."""
    column = data.train[repeat][:, 0 if side == "image" else 1]
    for rows in torch.split(torch.unique(column), _BLOCK):
        if side == "text":
            yield text_vector(data.features.texts.read(rows)), None
        else:
            images = data.features.images.read(rows)
            yield images.cls.float(), images.local.float().mean(1) if images.local.shape[1] else None


def _fitted(view: FusedView, moments: Moments) -> Affine | Scaled:
    """The map of one view, from the moments of its features as those of x."""
    if view.scale == "whiten":
        return Affine(moments.mean_x, whitening(moments.cov_xx, view.shrink))
    variances = moments.cov_xx.diagonal()
    total = variances.sum() if view.scale == "share" else variances.mean()
    return Scaled(moments.mean_x, total.rsqrt())
