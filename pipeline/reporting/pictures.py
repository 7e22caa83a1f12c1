"""Images and texts of the indexes, by the references in examples; images as data URIs."""

import base64
import io
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from PIL import Image

from pipeline.datasets.bits import bits_of
from pipeline.datasets.decode import decode_rgb, read_bytes
from pipeline.datasets.opened import opened_image
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.reporting.inputs import Node

_THUMBNAIL = 128  # px of the longer side; shown at half to two thirds of it


class Library:
    """The indexes under `folder` (data/index). Each table is read once, each thumbnail made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        self._texts: dict[tuple[str, str], dict[str, str]] = {}
        self._thumbnails: dict[tuple[str, str, str], str] = {}

    def image(self, reference: Node) -> Image.Image:
        """The RGB image that `{"group", "dataset", "image_id"}` names.

        Raises:
            DataError: there is no such index, the image is not in it, or it cannot be decoded.
        """
        group, dataset, identifier = (reference[key].text() for key in ("group", "dataset", "image_id"))
        if (group, dataset) not in self._images:
            path = self._folder / group / dataset / "images.parquet"
            rows = read_table(path, ["image_id", "path", "offset", "length"]).to_pylist()
            self._images[group, dataset] = {row["image_id"]: row for row in rows}
        row = self._images[group, dataset].get(identifier)
        if row is None:
            raise _stale(reference, f"image {identifier}", self._folder / group / dataset)
        index = self._folder / group / dataset
        return decode_rgb(read_bytes(row, index), bits_of(index))

    def thumbnail(self, reference: Node) -> str:
        """The image at most 128 px high and wide, as a data URI; errors as `image`."""
        key = (reference["group"].text(), reference["dataset"].text(), reference["image_id"].text())
        if key not in self._thumbnails:
            small = self.image(reference)
            small.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
            self._thumbnails[key] = data_uri(small)
        return self._thumbnails[key]

    def named(self, modality: str, reference: Node) -> str:
        """The name that the source gives a sample of a further modality.

        Raises:
            DataError: there is no such index, or the sample is not in it.
        """
        group, dataset, identifier = (reference[key].text() for key in ("group", "dataset", f"{modality}_id"))
        table = read_table(self._folder / group / dataset / f"{modality}.parquet", [f"{modality}_id", "key"])
        place = pc.index(table.column(0), identifier).as_py()
        if place < 0:
            raise _stale(reference, f"{modality} {identifier}", self._folder / group / dataset)
        return str(table.column(1)[place].as_py())

    def string(self, group: str, dataset: str, identifier: Node) -> str:
        """The text with the id that the node holds.

        Raises:
            DataError: there is no such index, or the text is not in it.
        """
        if (group, dataset) not in self._texts:
            table = read_table(self._folder / group / dataset / "texts.parquet", ["text_id", "text"])
            self._texts[group, dataset] = dict(
                zip(table["text_id"].to_pylist(), table["text"].to_pylist(), strict=True)
            )
        text = self._texts[group, dataset].get(identifier.text())
        if text is None:
            raise _stale(identifier, f"text {identifier.text()}", self._folder / group / dataset)
        return text


def data_uri(image: Image.Image) -> str:
    """The image as an inline JPEG."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=88, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def class_map(node: Node) -> Image.Image:
    """The 8-bit class map that a node holds as base64 PNG.

    Raises:
        DataError: it is not such a picture.
    """
    try:
        with opened_image(base64.b64decode(node.text(), validate=True), ("PNG",)) as image:
            image.load()
            return image.convert("L") if image.mode != "L" else image.copy()
    except (DataError, ValueError) as error:
        raise DataError(f"{node.source} should be a PNG in base64 ({error}). Run: dvc repro") from error


def _stale(node: Node, what: str, folder: Path) -> DataError:
    return DataError(
        f"{node.source} names {what}, which is not in {folder}: the example and the index are of different runs. "
        "Run: dvc repro"
    )
