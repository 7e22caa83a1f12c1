"""Data sets with label maps: layouts as they lie on disk, windows as rows, and what is wrong with them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.config import SegmentationSource, SlidingWindows
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.index import build_index
from pipeline.datasets.segmentation import BACKGROUND, VOID, SegmentationSet
from pipeline.datasets.segmentation.windows import window_boxes
from pipeline.datasets.tables import CLASSES, IMAGES, MASKS, read_table, write_table
from pipeline.errors import DataError, SourceError
from tests.datasets.label_maps import (
    label_map,
    palette_png,
    picture,
    write_ade20k,
    write_context,
    write_mask_folder,
    write_voc,
)

SMALL = SlidingWindows(short_side=40, side=40, stride=20)


def indexed(source: str, path: Path, out: Path, **options: Any) -> tuple[dict[str, Any], SegmentationSet]:
    spec = SegmentationSource(source=source, path=str(path), **{"windows": SMALL, **options})  # type: ignore[arg-type]
    about = build_index(spec, out, out)
    return about, SegmentationSet(out)


def by_hand(width: int, height: int, windows: SlidingWindows) -> list[tuple[int, int, int, int]]:
    """mmsegmentation's `slide_inference`, on the resized picture, brought back to the picture's own pixels."""
    scale = windows.short_side / min(width, height)
    wide, high = round(width * scale), round(height * scale)
    found = []
    for row in range(max(high - windows.side + windows.stride - 1, 0) // windows.stride + 1):
        for column in range(max(wide - windows.side + windows.stride - 1, 0) // windows.stride + 1):
            y2, x2 = min(row * windows.stride + windows.side, high), min(column * windows.stride + windows.side, wide)
            y1, x1 = max(y2 - windows.side, 0), max(x2 - windows.side, 0)
            found.append((round(x1 * width / wide), round(y1 * height / high)))
            found[-1] += (round(x2 * width / wide), round(y2 * height / high))
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([(448, 448, 224), (50, 40, 7), (30, 30, 30)]))
def test_windows_are_those_of_slide_inference_and_cover_the_picture(
    width: int, height: int, numbers: tuple[int, int, int]
) -> None:
    if max(width, height) > 20 * min(width, height):
        return
    windows = SlidingWindows(short_side=numbers[0], side=numbers[1], stride=numbers[2])
    boxes = window_boxes(width, height, windows)
    assert boxes == by_hand(width, height, windows)
    if min(width, height) >= windows.side:
        seen = np.zeros((height, width), dtype=bool)
        for left, top, right, bottom in boxes:
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            seen[top:bottom, left:right] = True
        assert seen.all()


def test_voc(tmp_path: Path) -> None:
    about, found = indexed("voc", write_voc(tmp_path), tmp_path / "out")
    assert (about["split"], about["pictures"]) == ("val", 3)
    assert [p.key for p in found.pictures] == ["2007_000033", "2007_000042", "2008_000061"]
    assert found.values.tolist() == list(range(1, 21))
    labels = found.labels(found.pictures[0])
    written = label_map(0, (0, 1, 15), border=255)
    assert (labels[written == 255] == VOID).all()
    assert (labels[written == 0] == BACKGROUND).all()
    assert (labels[written == 15] == 14).all()
    names = read_table(tmp_path / "out" / "classes.parquet").to_pylist()
    assert {row["classname"] for row in names if row["value"] == 8} == {"cat", "gato", "猫", "chat", "Katze", "кошка"}
    assert {row["language"] for row in names if row["kind"] == "class"} == {"en", "es", "zh", "fr", "de", "ru"}


def test_windows_are_rows_with_parent_and_box(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    _, found = indexed("voc", folder, tmp_path / "out")
    first = found.pictures[0]  # 60 x 40
    assert first.boxes == ((0, 0, 40, 40), (20, 0, 60, 40))
    table = ImageTable(tmp_path / "out")
    assert len(table) == 2 + 2 + 1
    assert first.image_id not in table.ids
    with Image.open(folder / "JPEGImages" / "2007_000033.jpg") as file:
        whole = file.convert("RGB")
    for row, box in zip(first.rows, first.boxes, strict=True):
        assert table.load(table.ids.index(row)).tobytes() == whole.crop(box).tobytes()
    enlarged = SlidingWindows(short_side=80, side=60, stride=30)
    _, found = indexed("voc", folder, tmp_path / "enlarged", windows=enlarged)
    row, box = found.pictures[0].rows[-1], found.pictures[0].boxes[-1]
    table = ImageTable(tmp_path / "enlarged")
    expected = whole.resize((60, 60), Image.Resampling.BICUBIC, box=box)
    assert table.load(table.ids.index(row)).tobytes() == expected.tobytes()
    assert not set(table.ids) & set(ImageTable(tmp_path / "out").ids), "another window is another row"


def test_whole_pictures(tmp_path: Path) -> None:
    _, found = indexed("voc", write_voc(tmp_path), tmp_path / "out", windows=None, split="train")
    assert found.whole
    assert [(p.key, p.boxes) for p in found.pictures] == [("2009_000012", ((0, 0, 60, 40),))]
    assert found.pictures[0].rows.tolist() == [found.pictures[0].image_id]


def test_context_and_ade20k(tmp_path: Path) -> None:
    _, context = indexed("pascal-context", write_context(tmp_path), tmp_path / "context")
    assert len(context.values) == 59
    assert set(np.unique(context.labels(context.pictures[0])).tolist()) == {BACKGROUND, 0, 58}
    names = {r["value"]: r["classname"] for r in read_table(tmp_path / "context" / "classes.parquet").to_pylist()}
    assert (names[1], names[29], names[37], names[59]) == ("aeroplane", "grass", "person", "wood")
    folder = write_ade20k(tmp_path)
    _, ade = indexed("ade20k", folder, tmp_path / "ade", split="val")
    assert len(ade.values) == 150
    assert set(np.unique(ade.labels(ade.pictures[0])).tolist()) == {VOID, 0, 2}
    assert read_table(tmp_path / "ade" / "masks.parquet").column("scene").to_pylist() == ["street", "bathroom"]
    rows = read_table(tmp_path / "ade" / "classes.parquet").to_pylist()
    assert [row["classname"] for row in rows if row["value"] == 2] == ["building"]
    indexed("ade20k", folder, tmp_path / "synonyms", synonyms=True)
    rows = read_table(tmp_path / "synonyms" / "classes.parquet").to_pylist()
    assert [row["classname"] for row in rows if row["value"] == 2] == ["building", "edifice"]


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    _, found = indexed("mask-folder", write_mask_folder(tmp_path), tmp_path / "out", limit=1)
    assert found.values.tolist() == [7, 9]
    assert [picture.key for picture in found.pictures] == ["a"]
    rows = read_table(tmp_path / "out" / "classes.parquet").to_pylist()
    assert [(r["classname"], r["language"]) for r in rows if r["value"] == 9][-1] == ("Stiel", "de")


def test_tables_of_ones_own(tmp_path: Path) -> None:
    """A source that is not ours writes three tables."""
    palette_png(label_map(0, (2, 5)), tmp_path / "m.png")
    picture(0).save(tmp_path / "p.png")
    from pipeline.datasets.tables import image_id

    identity = image_id((tmp_path / "p.png").read_bytes())
    image = {"image_id": identity, "modality": "image", "path": "p.png", "offset": 0, "length": -1}
    mask = {"image_id": identity, "path": "m.png", "offset": 0, "length": -1, "width": 60, "height": 40, "key": "p"}
    mask["mask_id"] = image_id((tmp_path / "m.png").read_bytes())
    classes = [{"value": v, "classname": f"c{v}", "kind": "class", "language": "en"} for v in (2, 5)]
    import pyarrow as pa

    for name, rows, schema in (("images", [image], IMAGES), ("masks", [mask], MASKS), ("classes", classes, CLASSES)):
        write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / f"{name}.parquet")
    found = SegmentationSet(tmp_path)
    assert found.labels(found.pictures[0])[0, [0, 59]].tolist() == [0, 1]


def test_bad_pictures_are_failures_with_a_reason(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    (folder / "JPEGImages" / "2007_000033.jpg").unlink()
    palette_png(label_map(0, (1,)), folder / "SegmentationClass" / "2007_000042.png")  # of another size
    about, _ = indexed("voc", folder, tmp_path / "out")
    assert about["counts"]["failures"] == 2
    failures = read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    assert "no picture at" in failures[0]["reason"]
    assert failures[1]["reason"] == "the picture is 40 x 60, its label map 60 x 40"
    palette_png(label_map(2, (33,)), folder / "SegmentationClass" / "2008_000061.png")
    with pytest.raises(SourceError, match=r"none of 3 pictures .* values \[33\], which no class has"):
        indexed("voc", folder, tmp_path / "none")


def test_a_colour_mask_is_refused(tmp_path: Path) -> None:
    folder = write_mask_folder(tmp_path)
    picture(0).save(folder / "masks" / "a.png")
    about, _ = indexed("mask-folder", folder, tmp_path / "out")
    assert about["counts"]["failures"] == 1
    (failure,) = read_table(tmp_path / "out" / "failures.parquet").to_pylist()
    assert failure["reason"] == "a label map has one channel; this one is of mode RGB"


@pytest.mark.parametrize(
    ("source", "missing", "says"),
    [
        ("voc", "ImageSets/Segmentation/val.txt", "found the splits train"),
        ("ade20k", "objectInfo150.txt", "a line per class"),
        ("mask-folder", "classes.csv", "value,classname"),
    ],
)
def test_a_layout_that_lacks_a_file(tmp_path: Path, source: str, missing: str, says: str) -> None:
    writers = {"voc": write_voc, "ade20k": write_ade20k, "mask-folder": write_mask_folder}
    folder = writers[source](tmp_path)
    (folder / missing).unlink()
    with pytest.raises(SourceError, match=says):
        indexed(source, folder, tmp_path / "out")


def test_a_label_map_that_changed_is_refused(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    _, found = indexed("voc", folder, tmp_path / "out")
    palette_png(label_map(0, (0, 2)), folder / "SegmentationClass" / "2007_000033.png")
    with pytest.raises(DataError, match="has changed since it was indexed"):
        found.labels(found.pictures[0])


def test_a_class_table_with_a_column_twice_is_refused(tmp_path: Path) -> None:
    folder = write_mask_folder(tmp_path)
    (folder / "classes.csv").write_text("value,classname,classname\n7,leaf,Blatt\n")
    with pytest.raises(SourceError, match="has a column twice: .'value', 'classname', 'classname'"):
        indexed("mask-folder", folder, tmp_path / "out")


def test_class_names_have_languages_in_any_form_of_their_codes(tmp_path: Path) -> None:
    folder = write_mask_folder(tmp_path)
    table = (folder / "classes.csv").read_text().replace("class,en", "class,en-GB").replace(",de", ",DEU")
    (folder / "classes.csv").write_text(table)
    indexed("mask-folder", folder, tmp_path / "out")
    classes = read_table(tmp_path / "out/classes.parquet")
    assert set(classes["language"].to_pylist()) == {"en", "de"}
