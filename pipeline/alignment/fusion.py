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
    sums = [(_Sums(fusion.view), _Sums(fusion.view)) for _ in fusion.widths]
    has_local = False
    for vectors, local in _vectors(data, repeat, side):
        has_local = local is not None
        for place, part in enumerate((vectors,) if local is None else (vectors, local)):
            for total, of_view in zip(sums, torch.split(part, list(fusion.widths), 1), strict=True):
                total[place].add(of_view)
    maps = []
    for place in range(1 + has_local):
        where = f"the train split of repeat {repeat}"
        named = [f"{side} features of view {view!r} in {where}" for view in fusion.view.concat]
        fitted = [total[place].fitted(name) for total, name in zip(sums, named, strict=True)]
        maps.append(Blocks(fitted).to(data.features.device))
    return maps[0], maps[1] if has_local else None


def _vectors(data: AlignmentData, repeat: int, side: Side) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Of every distinct training row of one side its vector (B, D) and, of images, the mean of its local tokens."""
    column = data.train[repeat][:, 0 if side == "image" else 1]
    for rows in torch.split(torch.unique(column), _BLOCK):
        if side == "text":
            yield text_vector(data.features.texts.read(rows)), None
        else:
            images = data.features.images.read(rows)
            yield images.cls.float(), images.local.float().mean(1) if images.local.shape[1] else None


class _Sums:
    """Sums over the rows of one view, and the map that follows from them.

    Only whitening needs the products of all features; of other scales the squares will do. Rows are shifted by the
    mean of the first block, so that a large common offset costs no digits.
    """

    def __init__(self, view: FusedView) -> None:
        self._view, self._count = view, 0
        self._shift, self._sum, self._products = torch.empty(0), torch.empty(0), torch.empty(0)

    def add(self, x_bD: Tensor) -> None:
        """Take a block of rows, float32."""
        if not self._count:
            self._shift = x_bD.mean(0)
        x = x_bD - self._shift
        products = (x.T @ x).double() if self._view.scale == "whiten" else x.double().square().sum(0)
        self._sum = x.double().sum(0) if not self._count else self._sum + x.double().sum(0)
        self._products = products if not self._count else self._products + products
        self._count += len(x)

    def fitted(self, where: str) -> Affine | Scaled:
        """The map; errors as `input_maps`."""
        mean, products = self._sum / self._count, self._products / self._count
        centre, whole = self._shift.double() + mean, products.ndim == 2
        products = products - (torch.outer(mean, mean) if whole else mean.square())
        variances = products.diagonal() if whole else products.clamp_min(0)
        require_spread(centre, variances, where)
        if whole:
            return Affine(centre, whitening(products, self._view.shrink))
        total = variances.sum() if self._view.scale == "share" else variances.mean()
        return Scaled(centre, total.rsqrt())
