"""The index of a segmentation data set: windows or whole pictures as rows, label maps and classes beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.config import SegmentationSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.decode import decode_labels, decode_rgb
from pipeline.datasets.nearest import Missing
from pipeline.datasets.plain_files import MAX_PICTURE, Inside, read_plain
from pipeline.datasets.raw_files import located
from pipeline.datasets.samples import wrong_with_names
from pipeline.datasets.segmentation.layouts import ClassName, Layout, Sample, read_layout
from pipeline.datasets.segmentation.windows import window_boxes
from pipeline.datasets.tables import CLASSES, MASKS, image_id, write_table
from pipeline.datasets.tally import Tally
from pipeline.errors import DataError, SourceError
from pipeline.progress import tqdm
from pipeline.terminal import shown

MASKS_FILE = "masks.parquet"
CLASSES_FILE = "classes.parquet"


def index_segmentation(
    spec: SegmentationSource, builder: IndexBuilder, folder: Path, bits: int | None = None
) -> dict[str, Any]:
    """Feed every valid picture, and write masks.parquet and classes.parquet into `folder`; others are failures.

    Pictures and label maps are indexed in place. With windows, rows of images.parquet are windows (`parent_id`, `box`)
    and pictures have no rows; `masks.image_id` is the id of the picture either way.

    Raises:
        SourceError: a file of the layout is missing or wrong, or no picture is valid.
    """
    layout = read_layout(spec)
    values = _checked(layout, spec.path)
    masks: dict[str, dict[str, Any]] = {}
    samples = layout.samples[: spec.limit or None]
    missing = Missing()
    tally = Tally(read=len(samples), left_out=layout.left_out, unit="pictures")
    for sample in tqdm(samples, desc=shown(f"{Path(spec.path).name}/{layout.split}"), unit="image", mininterval=1):
        try:
            row = _feed(sample, spec, builder, values, layout.inside, missing, bits)
            if row["image_id"] in masks:
                raise DataError(f"the same picture as {masks[row['image_id']]['key']}")
        except DataError as error:
            builder.fail(sample.key, str(error))
            tally.fail(str(error))
            continue
        tally.used += 1
        masks[row["image_id"]] = row
    if not masks:
        raise SourceError(
            f"{spec.path}: none of {len(samples)} pictures could be indexed. Reasons: {builder.first_failures()}"
        )
    write_table(pa.Table.from_pylist(list(masks.values()), schema=MASKS), folder / MASKS_FILE)
    rows = [vars(named) for named in layout.classes]
    write_table(pa.Table.from_pylist(rows, schema=CLASSES), folder / CLASSES_FILE)
    windows = spec.windows.model_dump() if spec.windows else None
    path = str(located(spec.path))
    about = {"path": path, "split": layout.split, "windows": windows, "pictures": len(masks), "packages": {}}
    return {**about, "tally": tally.as_dict()}


def _feed(
    sample: Sample,
    spec: SegmentationSource,
    builder: IndexBuilder,
    values: np.ndarray,
    inside: Inside,
    missing: Missing,
    bits: int | None,
) -> dict[str, Any]:
    """Index one picture and return its row of masks.parquet."""
    if reason := wrong_with_names(sample.key, str(sample.picture), str(sample.mask), sample.scene):
        raise DataError(reason)
    content = _read(sample.picture, "picture", inside, missing)
    written = _read(sample.mask, "label map", inside, missing)
    size = decode_rgb(content, bits).size
    labels = decode_labels(written)
    if labels.shape != size[::-1]:
        raise DataError(f"the picture is {size[0]} x {size[1]}, its label map {labels.shape[1]} x {labels.shape[0]}")
    unknown = np.setdiff1d(labels, values)
    if unknown.size:
        raise DataError(f"the label map holds the values {unknown[:5].tolist()}, which no class has")
    if spec.windows is None:
        identity = builder.refer_to(sample.picture, content, size, sample.key)
    else:
        boxes = window_boxes(*size, spec.windows)
        identity = builder.refer_to_windows(sample.picture, content, sample.key, boxes, spec.windows.side)
    return {
        "image_id": identity,
        "path": str(sample.mask),
        "offset": 0,
        "length": -1,
        "mask_id": image_id(written),
        "width": size[0],
        "height": size[1],
        "key": sample.key,
        "scene": sample.scene,
    }


def _read(path: Path, what: str, inside: Inside, missing: Missing) -> bytes:
    """The bytes of a picture or a label map.

    Raises:
        DataError: there is no such file, or it may not be read.
    """
    if reason := inside.wrong_with(path):
        raise DataError(f"the {what} is {reason}")
    try:
        return read_plain(path, MAX_PICTURE)
    except FileNotFoundError as error:
        reason = missing.reason(path).replace("no such file; looked for", f"no {what} at", 1)
        raise DataError(reason) from error
    except (OSError, ValueError) as error:
        raise DataError(f"the {what} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _checked(layout: Layout, where: str) -> np.ndarray:
    """The values that classes name.

    Raises:
        SourceError: a value is of two kinds, or nothing is a class.
    """
    kinds: dict[int, ClassName] = {}
    for named in layout.classes:
        if kinds.setdefault(named.value, named).kind != named.kind:
            raise SourceError(f"{where}: value {named.value} is both {kinds[named.value].kind} and {named.kind}.")
    if not any(named.kind == "class" for named in kinds.values()):
        raise SourceError(f"{where}: no value of its classes is of kind class.")
    return np.array(sorted(kinds), dtype=np.int64)
