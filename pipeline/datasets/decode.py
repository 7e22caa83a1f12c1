"""From the bytes of an image to RGB pixels; imports neither torch nor transformers, so decoding workers start fast."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.datasets.tables import read_table
from pipeline.errors import DataError

_BACKGROUND = (255, 255, 255, 255)  # what transparent pixels are laid on
_DEEP_GREY = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def read_bytes(row: Mapping[str, Any], index_folder: Path) -> bytes:
    """The encoded bytes of one row of images.parquet (`path`, `offset`, `length`).

    Raises:
        DataError: the file is missing or shorter than the row says.
    """
    path = index_folder / row["path"]  # an absolute path stays as it is
    length = int(row["length"])
    try:
        with open(path, "rb") as file:
            file.seek(int(row["offset"]))
            content = file.read(length)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if not content or (length >= 0 and len(content) != length):
        raise DataError(
            f"{path} is too short: expected {max(length, 1)} bytes at {row['offset']}, found {len(content)}"
        )
    return content


def decode_rgb(content: bytes) -> Image.Image:
    """Decode an image file as RGB: upright by its EXIF tag, transparency over white, 16-bit grey scaled to 8 bits.

    Raises:
        DataError: no image, cut short, or so large that decoding it could exhaust the memory; with a short reason.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError
            image.load()
            return upright_rgb(image)
    except Image.DecompressionBombError as error:
        raise DataError(f"too many pixels (more than {Image.MAX_IMAGE_PIXELS})") from error
    except UnidentifiedImageError as error:
        raise DataError("not an image of a known format") from error
    except (OSError, SyntaxError, ValueError, EOFError, OverflowError, MemoryError) as error:
        raise DataError(f"damaged image ({error or type(error).__name__})") from error


def decode_labels(content: bytes) -> np.ndarray:
    """A label map, an image of one channel: its values (or palette indices), (height, width) int64.

    Raises:
        DataError: no image, damaged, or of several channels.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode not in ("P", "L", "1", *_DEEP_GREY):
                raise DataError(f"a label map has one channel; this one is of mode {image.mode}")
            return np.asarray(image).astype(np.int64)
    except (Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"no label map that can be decoded ({error or type(error).__name__})") from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB, as `decode_rgb` makes it."""
    return _as_rgb(ImageOps.exif_transpose(image))


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP_GREY:
        values = np.asarray(image).astype(np.int64)  # 0 to 65535
        return Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0  # floats are taken as 0 to 1, else as 0 to 255
        return Image.fromarray(np.clip(values * scale, 0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, _BACKGROUND), layer).convert("RGB")
    return image.convert("RGB")


class ImageTable:
    """The images of one index, by position.

    Holds no open file, so it may be pickled into worker processes and shared by threads.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`.

        Raises:
            DataError: there is no index.
        """
        columns = ["image_id", "path", "offset", "length", "width", "height", "parent_id", "box"]
        table = read_table(folder / "images.parquet", columns)
        self._folder = folder
        self._rows: list[dict[str, Any]] = table.to_pylist()

    @property
    def ids(self) -> list[str]:
        """The image ids, in the order of the index."""
        return [row["image_id"] for row in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def load(self, position: int) -> Image.Image:
        """Image number `position` as RGB; of a window, the pixels in its box of the parent, resized to its own size.

        Raises:
            DataError: it cannot be read or decoded, or the box reaches beyond the parent.
        """
        row = self._rows[position]
        picture = decode_rgb(read_bytes(row, self._folder))
        return picture if row["parent_id"] is None else _window(picture, row)


def _window(parent: Image.Image, row: Mapping[str, Any]) -> Image.Image:
    left, top, right, bottom = row["box"]
    if not (0 <= left < right <= parent.width and 0 <= top < bottom <= parent.height):
        raise DataError(f"box {row['box']} is not inside its parent of {parent.width} x {parent.height} pixels")
    size = (int(row["width"]), int(row["height"]))
    return parent.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom))
