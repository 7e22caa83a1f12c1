"""The frozen encoders of an aligner, loaded on first use: inputs become the features that a store would hold.

Preprocessing, forward pass, pooling and rounding to the stored dtype are those of the stage `encode`.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.alignment.data.inputs import TextInput
from pipeline.config import AnyView, AudioView, EncodeParams, EncoderSpec, ImageView, TextView
from pipeline.config.modalities import many
from pipeline.encoders.audio import AudioEncoder, load_audio_encoder
from pipeline.encoders.image import ImageEncoder, load_image_encoder
from pipeline.encoders.text import load_text_encoder
from pipeline.encoders.text_encoder import TextEncoder
from pipeline.encoding.assembly import ShardRows
from pipeline.encoding.protocol import RowEncoder
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.errors import DataError, ModelError
from pipeline.features.quantised import served_rows, stored_specs
from pipeline.features.ragged import LENGTH, padded
from pipeline.inference.arguments import MOST_BATCH, require_numbers, whole_number
from pipeline.inference.audio_encoders import sound_features
from pipeline.inference.checkpoints import obtain_checkpoint
from pipeline.inference.inputs import ImageLike, open_image
from pipeline.inference.recorded import recorded_specs
from pipeline.inference.sounds import SoundLike


class FrozenEncoders:
    """Both encoders of an aligner; each is found, checked and loaded when it is first needed.

    Args:
        fingerprints: those recorded for the heads, "image" and "text".
        where: the aligner, for messages.
        folders: what may hold checkpoint folders, looked through in this order.
        project: where relative paths of local encoders start.
        trusted: repositories and folders from which encoders may be made again.
    """

    def __init__(
        self,
        fingerprints: Mapping[str, dict[str, Any]],
        where: str,
        folders: Sequence[Path],
        project: Path,
        device: str,
        trust_remote_code: bool,
        trusted: Sequence[str] = (),
    ) -> None:
        self._fingerprints, self._where = fingerprints, where
        self._folders, self._project, self._device = tuple(folders), project, device
        self._trusted = tuple(trusted)
        self._specs = {
            side: recorded_specs(fingerprint, f"the {side} view of {where}", trust_remote_code)
            for side, fingerprint in fingerprints.items()
        }
        self._dtype: str | None = None
        self._unrounded = False
        self._checkpoints: dict[str, Path] = {}
        self._image: dict[tuple[int, str], ImageEncoder] = {}  # by resolution and fit
        self._text: TextEncoder | None = None
        self._audio: dict[str, AudioEncoder] = {}  # by side
        self._pixels: tuple[int, ...] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the loaded backbones: a copy and another process load their own when they need them."""
        return self.__dict__ | {"_image": {}, "_text": None, "_audio": {}}

    def placed(self, device: str | None, dtype: str | None) -> "FrozenEncoders":
        """The same encoders elsewhere, each loaded when it is first needed.

        Args:
            device: None for where they are.
            dtype: that weights are held and computed in, instead of the recorded one; None for no change.
        """
        other = copy.copy(self)
        other._device = device or self._device
        other._dtype = dtype or self._dtype
        other._audio = {} if (other._device, other._dtype) != (self._device, self._dtype) else self._audio
        return other

    def exact(self) -> "FrozenEncoders":
        """The same encoders in float32, with features as they leave them and not rounded as a store has them."""
        other = self.placed(None, "float32")
        other._unrounded = True
        return other

    def share_images(self, other: "FrozenEncoders") -> None:
        """Use what `other` has loaded of the same image encoder."""
        (other,) = other.image_members
        if (other._device, other._dtype, other._unrounded) == (self._device, self._dtype, self._unrounded):
            self._image = dict(other._image)
        self._checkpoints |= {side: folder for side, folder in other._checkpoints.items() if side == "image"}
        self._folders = tuple(dict.fromkeys((*self._folders, *other._folders)))

    def trust_as(self, other: "FrozenEncoders") -> None:
        """Make encoders from what `other` may make them from, too."""
        self._trusted = tuple(dict.fromkeys((*self._trusted, *other.trusted)))

    @property
    def trusted(self) -> tuple[str, ...]:
        """Repositories and folders from which encoders may be made again."""
        return self._trusted

    @property
    def image_members(self) -> "tuple[FrozenEncoders, ...]":
        """What encodes images: these encoders, or one for each of several image encoders."""
        return (self,)

    def recorded(self, side: str) -> tuple[EncoderSpec, AnyView]:
        """The encoder and the view of one side."""
        return self._specs[side]

    def image_encoder(self) -> ImageEncoder:
        """The image encoder at the recorded resolution; errors as `image_features`."""
        return self._image_encoder(self.image_view)

    def text_encoder(self) -> TextEncoder:
        """The text encoder; errors as `text_features`."""
        return self._text_encoder()

    @property
    def dtype(self) -> str:
        """What the image encoder computes in."""
        return self._dtype or str(self._specs["image"][0].dtype)

    @property
    def max_tokens(self) -> int:
        """Where a text is cut, in tokens; errors as `text_features`."""
        return self._text_encoder().max_tokens

    @property
    def image_view(self) -> ImageView:
        """The recorded view of images.

        Raises:
            ModelError: another kind of view is recorded for them.
        """
        view = self._specs["image"][1]
        if not isinstance(view, ImageView):
            raise ModelError(f"{self._where} has a view of {many(view.modality)} and no encoder of pictures.")
        return view.model_copy(update={"dtype": "float32"}) if self._unrounded else view

    @property
    def text_view(self) -> TextView:
        """The recorded view of texts; errors as `image_view`."""
        view = self._specs["text"][1]
        if not isinstance(view, TextView):
            raise ModelError(f"{self._where} has a view of {many(view.modality)} and no encoder of texts.")
        return view.model_copy(update={"dtype": "float32"}) if self._unrounded else view

    def preprocessing(self, side: str) -> dict[str, Any]:
        """The recorded preprocessing of the encoder."""
        return dict(self._fingerprints[side]["described"]["preprocessing"])

    def image_features(
        self,
        images: Sequence[ImageLike],
        batch_size: int,
        view: ImageView | None = None,
        urls: bool = False,
        places: Sequence[int] | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Features of images, batch by batch in order; array name -> (b, *row_shape) in the dtype served.

        Args:
            view: another resolution or tier than the recorded one.
            urls: whether a string may be an address that is fetched.
            places: numbers of the images for messages; their places in the list where None.

        Raises:
            CheckpointError, FingerprintMismatch: as `obtain_checkpoint`.
            DataError: an image cannot be read, or the encoder gives it NaN.
        """
        view = (view or self.image_view).model_copy(update={"crops": 0})

        def load(number: str) -> Image.Image:
            return open_image(images[int(number)], urls, view.bits)

        rows = ImageRows(self._image_encoder(view), view, load, _params(batch_size))
        for numbers in _batched(len(images), int(batch_size)):
            yield _stored(rows, numbers, "image", places)

    def preprocess(self, image: ImageLike) -> torch.Tensor:
        """An image as the encoder takes it, (3, H, W) float32; errors as `image_features`."""
        return self._image_encoder(self.image_view).preprocess(open_image(image, bits=self.image_view.bits))

    def pixel_features(self, pixels: torch.Tensor) -> dict[str, np.ndarray]:
        """Features of prepared images (N, 3, H, W) in one batch: as `image_features`."""
        view = self.image_view.model_copy(update={"crops": 0})
        if self._pixels is None:
            self._pixels = tuple(self._image_encoder(view).preprocess(Image.new("RGB", (64, 64))).shape)
        _require_batch(pixels, self._pixels)
        pixels = pixels.detach().float()
        rows = ImageRows(self._image_encoder(view), view, _none_to_load, _params(max(1, len(pixels))))
        batch = rows.forward(list(range(len(pixels))), list(pixels))
        _require_encoded(batch.reasons, [str(number) for number in batch.positions], "image")
        return served_rows(batch.arrays, rows.specs)

    def patch_grid(self, view: ImageView) -> tuple[int, int]:
        """Rows and columns of patches at the resolution of `view`."""
        return self._image_encoder(view).patch_grid

    def audio_features(
        self, side: str, sounds: Sequence[SoundLike], batch_size: int, places: Sequence[int] | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """Features of sounds, which stand on `side`, as `image_features` gives those of images; errors alike."""
        encoder, view = self._specs[side]
        if not isinstance(view, AudioView):
            raise ModelError(f"{self._where} has a view of {many(view.modality)} there and no encoder of sounds.")
        if side not in self._audio:
            self._audio[side] = load_audio_encoder(self.checkpoint(side), self._computing(encoder), view, self._device)
        size = whole_number(batch_size, "batch_size", most=MOST_BATCH)
        return sound_features(self._audio[side], view, sounds, size, places)

    def text_features(self, texts: Sequence[str], batch_size: int, text_tokens: str = "pooled") -> TextInput:
        """Features of texts in the dtype served, sentence embeddings or ("full") tokens; errors as `image_features`."""
        view = self._whole_texts()
        numbers = [str(number) for number in range(len(texts))]
        rows = TextRows(self._text_encoder(), view, dict(zip(numbers, texts, strict=True)), _params(batch_size))
        stored = _stored(rows, numbers, "text")
        if text_tokens == "pooled":
            return TextInput.from_arrays([stored["pooled"]])
        lengths = stored["tokens" + LENGTH]
        return TextInput.from_arrays(padded(stored["tokens"], lengths, int(lengths.max(initial=1))))

    def _whole_texts(self) -> TextView:
        return self.text_view.model_copy(update={"truncations": (), "chunk_tokens": None})

    def _text_encoder(self) -> TextEncoder:
        if self._text is None:
            folder, encoder = self.checkpoint("text"), self._computing(self._specs["text"][0])
            self._text = load_text_encoder(folder, encoder, self._whole_texts(), self._device)
        return self._text

    def _computing(self, encoder: EncoderSpec) -> EncoderSpec:
        return encoder if self._dtype is None else encoder.model_copy(update={"dtype": self._dtype, "autocast": None})

    def checkpoint(self, side: str) -> Path:
        """The checkpoint folder of one side; errors as `obtain_checkpoint`."""
        if side not in self._checkpoints:
            encoder, view = self._specs[side]
            self._checkpoints[side] = obtain_checkpoint(
                self._fingerprints[side],
                encoder,
                view,
                self._folders,
                self._where,
                trusted=self._trusted,
                project=self._project,
            )
        return self._checkpoints[side]

    def _image_encoder(self, view: ImageView) -> ImageEncoder:
        wanted = view.resolution, view.fit
        if wanted not in self._image:
            encoder = self._computing(self._specs["image"][0])
            kept = self.image_view.resolution, self.image_view.fit
            self._image = {key: value for key, value in self._image.items() if key == kept}  # and the one now loaded
            self._image[wanted] = load_image_encoder(self.checkpoint("image"), encoder, view, self._device)
        return self._image[wanted]


def _require_batch(pixels: Any, shape: tuple[int, ...]) -> None:
    tensor = isinstance(pixels, torch.Tensor)
    if tensor:
        require_numbers(pixels)
    if not tensor or tuple(pixels.shape[1:]) != shape or not len(pixels) or not pixels.is_floating_point():
        found = f"{pixels.dtype} {tuple(pixels.shape)}" if tensor else type(pixels).__name__
        sizes = ", ".join(map(str, shape))
        raise DataError(f"Expected stacked outputs of `preprocess`, a float tensor (N, {sizes}), found {found}.")


def _none_to_load(identifier: str) -> Image.Image:
    raise AssertionError(f"image {identifier} is prepared already")


def _params(batch_size: int) -> EncodeParams:
    batch_size = whole_number(batch_size, "batch_size", most=MOST_BATCH)
    return EncodeParams(batch_size=batch_size, text_batch_size=batch_size, workers=0)


def _batched(count: int, size: int) -> Iterator[list[str]]:
    numbers = map(str, range(count))
    while batch := list(islice(numbers, size)):
        yield batch


def _stored(
    rows: RowEncoder, numbers: Sequence[str], what: str, places: Sequence[int] | None = None
) -> dict[str, np.ndarray]:
    """Rows in the order of `numbers`, rounded as a store rounds them."""
    kept = [replace(spec, dtype="float16") if spec.dtype == "int8" else spec for spec in rows.specs]
    arrays = ShardRows(stored_specs(kept), len(numbers))
    for batch in rows.encode(numbers):
        named = [numbers[position] for position in batch.positions]
        _require_encoded(batch.reasons, named if places is None else [str(places[int(name)]) for name in named], what)
        arrays.put(np.array(batch.positions), served_rows(batch.arrays, rows.specs))
    return arrays.arrays()


def _require_encoded(reasons: Sequence[str | None], numbers: Sequence[str], what: str) -> None:
    for number, reason in zip(numbers, reasons, strict=True):
        if reason is not None:
            raise DataError(f"{what.capitalize()} {number} cannot be encoded: {reason}")
