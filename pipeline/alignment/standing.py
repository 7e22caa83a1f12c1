"""A space that stands still: an aligner whose vectors of texts are what a further modality is fitted to.

The folder of an aligner so made holds the standing one whole, byte for byte, under space/.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.alignment.data.batches import AlignerFeatures, PairBatch, SideFeatures
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData, Standing
from pipeline.alignment.head_config import CONFIG_FILE, SPACE_FOLDER, HeadConfig
from pipeline.alignment.heads.base import Head
from pipeline.alignment.saved import ProjectionHeads, heads_path
from pipeline.config import FitSpec
from pipeline.errors import ModelError
from pipeline.paths import MODELS


def standing_spaces(name: str, fit: FitSpec, repeats: int, device: torch.device) -> tuple[Standing, ...]:
    """The space that an aligner is added to, repeat by repeat; none where it has a space of its own.

    Raises:
        ModelError: the aligner of that space is not fitted, as often, or through another view of texts.
    """
    if fit.space is None:
        return ()
    folder = MODELS / fit.space
    config = HeadConfig.read(folder)
    if config.repeats != repeats or config.views["text"] != fit.text:
        raise ModelError(
            f"{name!r} is added to the space of {fit.space!r}, which was fitted {config.repeats} times, to texts "
            f"through view {config.views['text']!r}; expected {repeats} times, through {fit.text!r}. Fit it again "
            f"with: dvc repro train@{fit.space}"
        )
    heads = [ProjectionHeads.from_folder(folder, repeat, device).head for repeat in range(repeats)]
    return tuple(Standing(head, config.embed_dim) for head in heads)


def require_texts_of(fit: FitSpec, fingerprint: dict[str, Any], name: str) -> None:
    """Check that the space that an aligner is added to was fitted to the features of texts that are read now.

    Raises:
        ModelError: it was fitted to others.
    """
    space = HeadConfig.read(MODELS / str(fit.space))
    if space.fingerprints["text"]["digest"] != fingerprint["digest"]:
        raise ModelError(
            f"{name!r} is added to the space of {space.aligner!r}, which was fitted to other features of texts than "
            f"the stores of view {space.views['text']!r} hold. Fit it again with: dvc repro train@{space.aligner}"
        )


def copy_space(space: str, folder: Path) -> None:
    """Put the fitted aligner `space`, configuration and heads, into the folder of one that was added to it."""
    source, out = MODELS / space, folder / SPACE_FOLDER
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    for repeat in range(HeadConfig.read(source).repeats):
        if (path := heads_path(source, repeat)).is_file():
            heads_path(out, repeat).parent.mkdir()
            shutil.copyfile(path, heads_path(out, repeat))
    shutil.copyfile(source / CONFIG_FILE, out / CONFIG_FILE)


def seen_from(data: AlignmentData, repeat: int) -> AlignmentData:
    """The data as the head of `repeat` is fitted to it: where a space stands, texts as their vectors there."""
    if not data.standing:
        return data
    return replace(data, features=_Features(data.features, data.standing[repeat]))


class _Features:
    """Features whose texts are vectors of a space, as texts of one token of its width."""

    def __init__(self, features: AlignerFeatures, space: Standing) -> None:
        self._features, self._head = features, space.head
        self.device = features.device
        self.images: SideFeatures[ImageInput] = features.images
        self.texts: SideFeatures[TextInput] = _Texts(features.texts, space)

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`."""
        for batch in self._features.epoch(pairs, batch_size, generator, number, skip):
            yield PairBatch(batch.images, _vectors(self._head, batch.texts), batch.image_ids, batch.text_ids)


@dataclass(frozen=True)
class _Texts:
    side: SideFeatures[TextInput]
    space: Standing

    @property
    def width(self) -> int:
        """Of the space."""
        return self.space.width

    def read(self, rows: Tensor) -> TextInput:
        """See `SideFeatures`."""
        return _vectors(self.space.head, self.side.read(rows))


@torch.no_grad()
def _vectors(head: Head, texts: TextInput) -> TextInput:
    return TextInput.from_pooled(head.text_features(texts))
