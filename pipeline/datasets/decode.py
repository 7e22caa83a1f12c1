"""From the bytes of an image to RGB pixels; imports neither torch nor transformers, so decoding workers start fast."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from pipeline.datasets.bits import STATED, Stated, bits_of
from pipeline.datasets.colour import eight_bit_colour, is_deep_colour
from pipeline.datasets.grey import DEEP, eight_bits
from pipeline.datasets.known import doubt
from pipeline.datasets.opened import LABEL_MAPS, opened_image
from pipeline.datasets.plain_files import MAX_PICTURE, read_plain
from pipeline.datasets.tables import media_id, read_table
from pipeline.errors import DataError
from pipeline.ids import Ids
from pipeline.work_folder import work_folder

_BACKGROUND = (255, 255, 255, 255)  # behind transparent pixels
_ORIENTATION, _QUARTER_TURNS = 0x0112, (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_bytes(row: Mapping[str, Any], index_folder: Path) -> bytes:
    """The encoded bytes of one row of images.parquet (`path`, `offset`, `length`).

    Raises:
        DataError: the file is missing or shorter than the row states.
    """
    path = index_folder / row["path"]  # an absolute path stays as it is
    length = int(row["length"])
    try:
        content = read_plain(path, MAX_PICTURE, int(row["offset"]), length)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not content or (length >= 0 and len(content) != length):
        raise DataError(
            f"{path} is too short: expected {max(length, 1)} bytes at {row['offset']}, found {len(content)}"
        )
    return content


def decode_rgb(content: bytes, bits: int | None = None) -> Image.Image:
    """Decode an image file as RGB: upright by its EXIF tag, transparency over white, deep grey in 8 bits (`grey`).

    For an animation, the first frame is used.

    Args:
        bits: samples of more than 8 bits go up to 2**`bits` - 1, where the file states no range; None for what a
            sample can hold.

    Raises:
        DataError: not an image, truncated, so large that decoding it could exhaust memory, or so narrow that resizing
            it could; with a short reason.
    """
    with opened_image(content) as image:
        return _decoded(image, content, bits)


def _decoded(image: Image.Image, content: bytes, bits: int | None) -> Image.Image:
    if bits is None or not is_deep_colour(image):
        return upright_rgb(image, bits)
    narrowed = eight_bit_colour(image, lambda: opened_image(content), bits)
    return _upright(_as_rgb(narrowed), _orientation(image))


def check_image(content: bytes, whole: bool = True, bits: int | None = None) -> tuple[tuple[int, int], str]:
    """Width and height of an image file, upright, and its format in lower case.

    Args:
        whole: decode it completely; else only the header is read, and later damage shows when the image is encoded.
        bits: as for `decode_rgb`.

    Raises:
        DataError: as `decode_rgb`.
    """
    with opened_image(content) as image:
        form = (image.format or "image").lower()
        if whole:
            return _decoded(image, content, bits).size, form
        turned = _orientation(image) in _QUARTER_TURNS and image.format != "TIFF"  # of which Pillow gives it upright
        return (image.size[::-1] if turned else image.size), form


def decode_labels(content: bytes) -> np.ndarray:
    """A label map, an image of one channel: its values (or palette indices), (height, width) int64.

    Formats are those that keep every value: no JPEG. Its size is limited like that of a picture.

    Raises:
        DataError: not an image of these formats, damaged, too large, or of several channels.
    """
    try:
        with opened_image(content, LABEL_MAPS) as image:
            mode = image.mode
            values = np.asarray(image).astype(np.int64) if mode in ("P", "L", "1", *DEEP) else None
    except DataError as error:
        raise DataError(f"the label map cannot be read: {error}; expected {', '.join(LABEL_MAPS)}") from error
    if values is None:
        raise DataError(f"a label map has one channel; this one is of mode {mode}")
    return values


def upright_rgb(image: Image.Image, bits: int | None = None) -> Image.Image:
    """A picture of any mode as RGB, as `decode_rgb` makes it; an unreadable EXIF block is ignored.

    Raises:
        DataError: it has more than 8 bits and no known range (`grey`), or lower bits that Pillow is about to drop.
    """
    if bits is not None and is_deep_colour(image):
        raise DataError("Pillow keeps 8 of its 16 bits; give the path or the bytes of the file instead of the picture")
    image.load()  # Pillow turns a TIFF here, and drops its tag
    return _upright(_as_rgb(image, bits), _orientation(image))


def _upright(rgb: Image.Image, orientation: int | None) -> Image.Image:
    return rgb if orientation not in _TURNS else rgb.transpose(_TURNS[orientation])


def _orientation(image: Image.Image) -> int | None:
    """The EXIF orientation, 1 (upright) to 8; None where there is none or it cannot be read."""
    try:
        turned = image.getexif().get(_ORIENTATION)
    except Exception:  # a malformed block raises many kinds of errors and does not affect the pixels
        return None
    return turned if isinstance(turned, int) else None


def _as_rgb(image: Image.Image, bits: int | None = None) -> Image.Image:
    if image.mode in (*DEEP, "F"):
        return eight_bits(image, bits).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, _BACKGROUND), layer).convert("RGB")
    return image.convert("RGB")


class ImageTable:
    """The images of one index, by position.

    Holds no open file, so it may be pickled into worker processes and shared by threads.
    """

    def __init__(self, folder: Path, bits: int | Stated | None = STATED) -> None:
        """Open the index in `folder`.

        Args:
            bits: as for `decode_rgb`, instead of those with which the index was checked.

        Raises:
            DataError: there is no index.
        """
        columns = ["image_id", "path", "offset", "length", "width", "height", "parent_id", "box"]
        table = read_table(folder / "images.parquet", columns)
        self._folder = folder
        self._bits = bits_of(folder) if bits == STATED else bits
        self._table = table.combine_chunks()  # kept in Arrow: a list of dictionaries is ten times as large

    @property
    def row_ids(self) -> Ids:
        """The image ids, in the order of the index."""
        return Ids.of(self._table.column("image_id"))

    @property
    def ids(self) -> list[str]:
        """`row_ids` as a list."""
        return self.row_ids.tolist()

    def __len__(self) -> int:
        return len(self._table)

    def row(self, position: int) -> dict[str, Any]:
        """The row of images.parquet for image number `position`."""
        row: dict[str, Any] = self._table.slice(position, 1).to_pylist()[0]
        return row

    def rows(self, positions: Sequence[int] | np.ndarray) -> pa.Table:
        """The rows of some images, in that order."""
        return self._table.take(pa.array(positions, pa.int64()))

    def load(self, position: int) -> Image.Image:
        """Image number `position` as RGB; a window is its box of the parent, resized to its own size.

        Raises:
            DataError: it cannot be read or decoded, a raw file is no longer what was indexed, or the box reaches beyond
                the parent.
        """
        return load_row(self.row(position), self._folder, self._bits)


def load_row(row: Mapping[str, Any], index_folder: Path, bits: int | None = None) -> Image.Image:
    """The image of one row of images.parquet (all columns that `ImageTable` reads); errors as `ImageTable.load`."""
    indexed = row["parent_id"] or row["image_id"]  # for a window, the picture it is cut from
    picture = decode_rgb(indexed_bytes(row, index_folder, indexed), bits)
    return picture if row["parent_id"] is None else _window(picture, row)


def indexed_bytes(row: Mapping[str, Any], index_folder: Path, identity: str) -> bytes:
    """What `read_bytes` gives of a picture or another sample whose id is that of these bytes.

    Raises:
        DataError: they cannot be read, or a raw file is no longer what was indexed.
    """
    content = read_bytes(row, index_folder)
    if Path(row["path"]).is_absolute() and media_id(content) != identity:
        doubt(work_folder(), Path(row["path"]), int(row["offset"]), int(row["length"]))
        raise DataError(f"{row['path']} has changed since it was indexed; run: dvc repro")
    return content


def _window(parent: Image.Image, row: Mapping[str, Any]) -> Image.Image:
    left, top, right, bottom = row["box"]
    if not (0 <= left < right <= parent.width and 0 <= top < bottom <= parent.height):
        raise DataError(f"box {row['box']} is not inside its parent of {parent.width} x {parent.height} pixels")
    size = (int(row["width"]), int(row["height"]))
    return parent.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom))
