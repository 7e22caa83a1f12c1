"""The cut-outs that scenes are composed of, read from the indexes of data sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.datasets.bits import bits_of
from pipeline.datasets.concepts import concept_name
from pipeline.datasets.decode import decode_rgb, read_bytes
from pipeline.datasets.opened import opened_image
from pipeline.datasets.scenes.names import names
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError

SOLID = 128  # alpha (of 255) from which a pixel belongs to the object


@dataclass(frozen=True)
class Piece:
    """A picture of one concept.

    Attributes:
        dataset, image_id, concept, category: as in the index of its data set.
        first, again: what a caption calls it when it is first named, and later.
        row: its row of images.parquet; folder: the index.
    """

    dataset: str
    image_id: str
    concept: str
    category: str | None
    first: str
    again: str
    row: Mapping[str, Any]
    folder: Path

    def cut_out(self) -> Image.Image | None:
        """RGBA, trimmed to its solid pixels; None if it has none. Without a mask the whole picture is solid.

        Raises:
            DataError: the picture cannot be read.
        """
        content = read_bytes(self.row, self.folder)
        if self.row["mask"] != "alpha":
            return decode_rgb(content, bits_of(self.folder)).convert("RGBA")
        try:
            with opened_image(content) as picture:
                image = picture.convert("RGBA")
        except DataError as error:
            raise DataError(f"{self.dataset}: picture {self.image_id} cannot be decoded ({error})") from error
        box = solid(image).nonzero()
        if not len(box[0]):
            return None
        top, left = (int(axis.min()) for axis in box)
        bottom, right = (int(axis.max()) + 1 for axis in box)
        return image.crop((left, top, right, bottom))


def solid(image: Image.Image) -> np.ndarray:
    """(height, width) bool: the pixels of an RGBA image that belong to the object."""
    return np.asarray(image.getchannel("A")) >= SOLID


def read_pieces(indexes: Mapping[str, Path]) -> list[Piece]:
    """Every picture of the indexes that has a name, each content once: by its first label, or by its caption.

    Raises:
        DataError: a table is missing or damaged.
    """
    pieces: dict[str, Piece] = {}
    for dataset, folder in indexes.items():
        captions = _english_captions(folder)
        labels: dict[str, dict[str, Any]] = {}
        for row in read_table(folder / "labels.parquet").to_pylist():
            labels.setdefault(row["image_id"], row)
        for row in read_table(folder / "images.parquet").to_pylist():
            image = row["image_id"]
            if image not in labels or image in pieces:
                continue
            label, caption = labels[image], captions.get(image)
            named = label["concept"] if label["concept"] != image else concept_name(caption) if caption else None
            if not (called := label["classname"] or named):
                continue
            first, again = names(called, caption)
            pieces[image] = Piece(dataset, image, label["concept"], label["category"], first, again, row, folder)
    return list(pieces.values())


def _english_captions(folder: Path) -> dict[str, str]:
    """The first English caption of each image."""
    texts = read_table(folder / "texts.parquet", ["text_id", "text"])
    strings = dict(zip(texts["text_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
    captions: dict[str, str] = {}
    for row in read_table(folder / "pairs.parquet").to_pylist():
        if row["language"] == "en" and row["role"] == "caption":
            captions.setdefault(row["image_id"], strings[row["text_id"]])
    return captions
