"""Encoders of an aligner with fused views: each backbone sees an input once, and their features stand side by side."""

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image

from pipeline.alignment import HeadConfig
from pipeline.alignment.data.inputs import TextInput
from pipeline.config import AnyView, EncoderSpec, ImageView, TextView
from pipeline.encoders.image import ImageEncoder
from pipeline.encoders.text_encoder import TextEncoder
from pipeline.errors import ModelError
from pipeline.features.fused import shared_names, side_by_side
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.inputs import ImageLike, open_image
from pipeline.inference.sounds import SoundLike, open_sound


def encoders_of(
    config: HeadConfig, folders: Sequence[Path], project: Path, device: str, code: bool, trusted: Sequence[str]
) -> FrozenEncoders:
    """The encoders that an aligner records.

    Args:
        folders, project, device, code, trusted: as of `FrozenEncoders`, `code` for whether its own may run.
    """

    def encoders(fingerprints: dict[str, dict[str, Any]], where: str) -> FrozenEncoders:
        return FrozenEncoders(fingerprints, where, folders, project, device, code, trusted)

    where = f"Aligner {config.aligner!r}"
    if not config.fusions:
        return encoders(config.fingerprints, where)
    members = {
        side: {view: encoders({side: one}, f"{where}, view {view!r}") for view, one in config.members(side).items()}
        for side in config.views
    }
    return FusedEncoders(members, where)


class FusedEncoders(FrozenEncoders):
    """As `FrozenEncoders`, where a side may have several.

    What is of one encoder by its nature (its weights, its patches, its pixels) is refused for a side of several.

    Args:
        members: by side and view, encoders of that side alone, in the order of their features.
        where: the aligner, for messages.
    """

    def __init__(self, members: dict[str, dict[str, FrozenEncoders]], where: str) -> None:
        self._members, self._where = members, where

    def __getstate__(self) -> dict[str, Any]:
        """Its encoders leave their backbones behind themselves."""
        return self.__dict__

    def placed(self, device: str | None, dtype: str | None) -> "FusedEncoders":
        """See `FrozenEncoders`."""
        return self._each(lambda one: one.placed(device, dtype))

    def exact(self) -> NoReturn:
        """Raises ModelError: exports are of one encoder for each side."""
        raise ModelError(
            f"{self._where} has fused views ({self._listed('image')} with {self._listed('text')}), and an export to "
            "sentence-transformers or ONNX holds one encoder of each side. Export an aligner of single views, or use "
            "this one as it is."
        )

    def share_images(self, other: FrozenEncoders) -> None:
        """See `FrozenEncoders`."""
        for mine, theirs in zip(self.image_members, other.image_members, strict=True):
            mine.share_images(theirs)

    def trust_as(self, other: FrozenEncoders) -> None:
        """See `FrozenEncoders`."""
        for members in self._members.values():
            for one in members.values():
                one.trust_as(other)

    @property
    def trusted(self) -> tuple[str, ...]:
        """See `FrozenEncoders`."""
        return self.image_members[0].trusted

    @property
    def image_members(self) -> tuple[FrozenEncoders, ...]:
        """See `FrozenEncoders`."""
        return tuple(self._members["image"].values())

    def recorded(self, side: str) -> tuple[EncoderSpec, AnyView]:
        """See `FrozenEncoders`."""
        return self._only(side).recorded(side)

    def image_encoder(self) -> ImageEncoder:
        """See `FrozenEncoders`."""
        return self._only("image").image_encoder()

    def text_encoder(self) -> TextEncoder:
        """See `FrozenEncoders`."""
        return self._only("text").text_encoder()

    @property
    def dtype(self) -> str:
        """See `FrozenEncoders`; of several, that of the first."""
        return self.image_members[0].dtype

    @property
    def max_tokens(self) -> int:
        """See `FrozenEncoders`; of several, the least."""
        return min(one.max_tokens for one in self._members["text"].values())

    @property
    def image_view(self) -> ImageView:
        """See `FrozenEncoders`."""
        return self._only("image").image_view

    @property
    def text_view(self) -> TextView:
        """See `FrozenEncoders`."""
        return self._only("text").text_view

    def preprocessing(self, side: str) -> dict[str, Any]:
        """See `FrozenEncoders`."""
        return self._only(side).preprocessing(side)

    def image_features(
        self,
        images: Sequence[ImageLike],
        batch_size: int,
        view: ImageView | None = None,
        urls: bool = False,
        places: Sequence[int] | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `FrozenEncoders`; a picture is opened once for all encoders."""
        if len(self._members["image"]) == 1 or view is not None:
            yield from self._only("image").image_features(images, batch_size, view, urls, places)
            return
        numbers = range(len(images)) if places is None else places
        bits = {one.image_view.bits for one in self.image_members}  # by which deep pictures are read
        for start in range(0, len(images), int(batch_size)):
            some = slice(start, start + int(batch_size))
            opened = _OpenedOnce(images[some], urls, *bits) if len(bits) == 1 else images[some]
            each = [
                next(one.image_features(opened, len(opened), urls=urls, places=numbers[some]))
                for one in self.image_members
            ]
            names = shared_names([{name: array.shape for name, array in one.items()} for one in each])
            yield {name: side_by_side(name, [one[name] for one in each]) for name in names}

    def preprocess(self, image: ImageLike) -> torch.Tensor:
        """See `FrozenEncoders`."""
        return self._only("image").preprocess(image)

    def pixel_features(self, pixels: torch.Tensor) -> dict[str, np.ndarray]:
        """See `FrozenEncoders`."""
        return self._only("image").pixel_features(pixels)

    def patch_grid(self, view: ImageView) -> tuple[int, int]:
        """See `FrozenEncoders`."""
        return self._only("image").patch_grid(view)

    def text_features(self, texts: Sequence[str], batch_size: int, text_tokens: str = "pooled") -> TextInput:
        """See `FrozenEncoders`."""
        if len(self._members["text"]) == 1 or text_tokens != "pooled":
            return self._only("text").text_features(texts, batch_size, text_tokens)
        each = [one.text_features(texts, batch_size).tokens[:, 0] for one in self._members["text"].values()]
        return TextInput.from_pooled(torch.from_numpy(side_by_side("pooled", [part.numpy() for part in each])))

    def audio_features(
        self, side: str, sounds: Sequence[SoundLike], batch_size: int, places: Sequence[int] | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """See `FrozenEncoders`."""
        members = list(self._members[side].values())
        numbers = range(len(sounds)) if places is None else places
        for start in range(0, len(sounds), int(batch_size)):
            some = slice(start, start + int(batch_size))
            opened = [open_sound(sound) for sound in sounds[some]]
            each = [next(one.audio_features(side, opened, batch_size, numbers[some])) for one in members]
            names = shared_names([{name: array.shape for name, array in one.items()} for one in each])
            yield {name: side_by_side(name, [one[name] for one in each]) for name in names}

    def checkpoint(self, side: str) -> Path:
        """See `FrozenEncoders`."""
        return self._only(side).checkpoint(side)

    def _each(self, change: Callable[[FrozenEncoders], FrozenEncoders]) -> "FusedEncoders":
        other = copy.copy(self)
        other._members = {side: {view: change(one) for view, one in of.items()} for side, of in self._members.items()}
        return other

    def _only(self, side: str) -> FrozenEncoders:
        """The encoder of a side that has one.

        Raises:
            ModelError: it has several.
        """
        if len(self._members[side]) > 1:
            raise ModelError(
                f"{self._where} takes {side}s through several encoders ({self._listed(side)}), each with pixels or "
                "tokens, patches and weights of its own. What is asked for here is of one encoder: take an aligner of "
                "a single view; encode, classify and search work with this one."
            )
        (only,) = self._members[side].values()
        return only

    def _listed(self, side: str) -> str:
        return " + ".join(self._members[side])


class _OpenedOnce(Sequence[ImageLike]):
    """Pictures that are opened when they are first asked for, and kept."""

    def __init__(self, images: Sequence[ImageLike], urls: bool, bits: int | None) -> None:
        self._images, self._urls, self._bits = images, urls, bits
        self._opened: dict[int, Image.Image] = {}

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: Any) -> Any:
        if number not in self._opened:
            self._opened[number] = open_image(self._images[number], self._urls, self._bits)
        return self._opened[number]
