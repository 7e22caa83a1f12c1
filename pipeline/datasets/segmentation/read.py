"""Reads the index of a segmentation data set: pictures, the rows that show them, and their label maps."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.datasets.decode import decode_labels, read_bytes
from pipeline.datasets.segmentation.build import CLASSES_FILE, MASKS_FILE
from pipeline.datasets.segmentation.windows import Box
from pipeline.datasets.tables import image_id, read_table
from pipeline.errors import DataError

VOID, BACKGROUND = -1, -2  # instead of the number of a class


@dataclass(frozen=True)
class LabelledPicture:
    """A picture with a label map.

    Attributes:
        image_id, key: of the picture.
        size: width and height in pixels.
        rows: (W,) str, the ids of images.parquet that show it: its windows, or itself.
        boxes: what each row shows, in pixels of the picture.
        mask: its row of masks.parquet.
    """

    image_id: str
    key: str
    size: tuple[int, int]
    rows: np.ndarray
    boxes: tuple[Box, ...]
    mask: dict[str, Any]


class SegmentationSet:
    """A segmentation data set as written by `index_segmentation` or a source of your own.

    Attributes:
        values: (C,) int64, rising: the values of the label maps that are classes; class c has value `values[c]`.
        pictures: in the order of masks.parquet, those with at least one row.
        whole: whether every picture is a single row.
    """

    def __init__(self, folder: Path) -> None:
        """Read the tables.

        Raises:
            DataError: one is missing or damaged, or they do not fit each other.
        """
        self._folder = folder
        kinds: dict[int, str] = {}
        for row in read_table(folder / CLASSES_FILE, ["value", "kind"]).to_pylist():
            kinds[row["value"]] = row["kind"]
        self.values = np.array(sorted(value for value, kind in kinds.items() if kind == "class"), dtype=np.int64)
        self._number = np.full(max(kinds, default=0) + 1, VOID - 9, dtype=np.int64)
        for value, kind in kinds.items():
            self._number[value] = BACKGROUND if kind == "background" else VOID
        self._number[self.values] = np.arange(len(self.values))
        rows_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        columns = ["image_id", "parent_id", "box", "width", "height"]
        for row in read_table(folder / "images.parquet", columns).to_pylist():
            rows_of[row["parent_id"] or row["image_id"]].append(row)
        masks = read_table(folder / MASKS_FILE).to_pylist()
        if strangers := rows_of.keys() - {row["image_id"] for row in masks}:
            raise DataError(
                f"{folder / MASKS_FILE} has no label map for {len(strangers)} pictures of images.parquet, the first "
                f"{min(strangers)}. Write the index again with: dvc repro -f index@{folder.name}"
            )
        self.pictures = tuple(_picture(row, rows_of[row["image_id"]]) for row in masks if row["image_id"] in rows_of)
        self.whole = all(len(p.boxes) == 1 and p.boxes[0] == (0, 0, *p.size) for p in self.pictures)

    def labels(self, picture: LabelledPicture) -> np.ndarray:
        """The class of every pixel, (height, width) int64, `BACKGROUND` or `VOID`.

        Raises:
            DataError: the label map is missing, has changed since it was indexed, or has a value without a class.
        """
        content = read_bytes(picture.mask, self._folder)
        if image_id(content) != picture.mask["mask_id"]:
            raise DataError(
                f"The label map of {picture.key} ({picture.mask['path']}) has changed since it was indexed. "
                f"Index it again with: dvc repro -f index@{self._folder.name}"
            )
        values = decode_labels(content)
        inside = values[(values < 0) | (values >= len(self._number))].size == 0
        numbers: np.ndarray = self._number[values] if inside else np.full_like(values, VOID - 9)
        if (numbers < BACKGROUND).any() or values.shape != picture.size[::-1]:
            raise DataError(
                f"The label map of {picture.key} ({picture.mask['path']}) is of shape {values.shape} with values up to "
                f"{values.max()}; expected {picture.size[::-1]} and values of {self._folder / CLASSES_FILE}."
            )
        return numbers


def _picture(mask: dict[str, Any], rows: list[dict[str, Any]]) -> LabelledPicture:
    size = (int(mask["width"]), int(mask["height"]))
    boxes: list[Box] = []
    for row in rows:
        left, top, right, bottom = row["box"] or (0, 0, *size)
        boxes.append((int(left), int(top), int(right), int(bottom)))
    ids = np.array([row["image_id"] for row in rows], dtype=str)
    return LabelledPicture(mask["image_id"], mask["key"], size, ids, tuple(boxes), mask)
