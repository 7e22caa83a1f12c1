"""One door to pictures and label maps: known formats, limited sizes, and nothing that runs a program."""

import ast
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from pipeline.config import SegmentationSource
from pipeline.datasets.decode import check_image, decode_labels, decode_rgb
from pipeline.datasets.index import build_index
from pipeline.datasets.opened import LABEL_MAPS, PICTURES, opened_image
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from tests.datasets.bad_pictures import saved
from tests.datasets.label_maps import write_mask_folder

ROOT = Path(__file__).resolve().parents[2]
DOOR = ROOT / "pipeline/datasets/opened.py"
OPENERS = {"Image.open", "PIL.Image.open", "imread", "plt.imread", "cv2.imread", "imageio.imread", "mpimg.imread"}
OTHER_DOORS = {"ImageFile.Parser", "ImageShow.show", "PIL.ImageFile.Parser", "Image.core.open_ppm"}
LABELS = np.array([[0, 1, 1], [2, 2, 0]], dtype=np.uint8)


def openers(tree: ast.AST) -> list[str]:
    """How a module opens pictures, and names under which it could."""
    found = [
        ast.unparse(node.func)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in OPENERS | OTHER_DOORS
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in ("PIL.Image", "PIL.ImageFile"):
            found += [alias.name for alias in node.names if alias.name in ("open", "Parser")]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in ("cv2", "imageio")]
        elif isinstance(node, ast.ImportFrom) and node.module == "PIL":
            found += [alias.asname for alias in node.names if alias.asname]
    return found


def test_every_picture_is_opened_at_the_door() -> None:
    paths = [path for package in ("pipeline", "stages") for path in (ROOT / package).rglob("*.py")]
    found = {path: openers(ast.parse(path.read_text(encoding="utf-8"))) for path in paths}
    assert {path: names for path, names in found.items() if names} == {DOOR: ["Image.open"]}


@pytest.mark.parametrize(
    "code",
    [
        "from PIL import Image\nImage.open(x)",
        "from PIL.Image import open",
        "import PIL.Image\nPIL.Image.open(x)",
        "from PIL import Image as Picture\nPicture.open(x)",
        "import cv2",
        "import matplotlib.pyplot as plt\nplt.imread(x)",
    ],
)
def test_another_door_would_be_seen(code: str) -> None:
    assert openers(ast.parse(code))


def eps() -> bytes:
    return saved(Image.fromarray(LABELS), "EPS")


def pdf() -> bytes:
    return saved(Image.fromarray(LABELS), "PDF")


def noise() -> bytes:
    return saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)), "PNG")


REFUSED = {
    "EPS": (eps, "it looks like PostScript, which is not run"),
    "PDF": (pdf, "it looks like a PDF"),
    "TGA": (lambda: saved(Image.fromarray(LABELS), "TGA"), "not an image of a known format"),
    "empty": (lambda: b"", "empty file"),
    "cut": (lambda: noise()[:900], "damaged"),
}


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("read", [decode_rgb, check_image, decode_labels])
def test_what_is_refused_and_runs_nothing(read, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def run(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript was run")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run)
    make, reason = REFUSED[kind]
    with pytest.raises(DataError, match=reason):
        read(make())


@pytest.mark.parametrize("form", ["PNG", "GIF", "BMP", "TIFF", "PPM", "PCX", "SGI"])
def test_label_maps_keep_their_values_in_every_format_that_is_taken(form: str) -> None:
    assert form in LABEL_MAPS
    np.testing.assert_array_equal(decode_labels(saved(Image.fromarray(LABELS), form)), LABELS)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "JPEG2000"])
def test_a_label_map_in_a_format_that_changes_values_is_refused(form: str) -> None:
    assert form in PICTURES
    content = saved(Image.fromarray(np.tile(LABELS, (20, 20))), form)
    with pytest.raises(DataError, match="the label map cannot be read: .*; expected BMP, .*PNG"):
        decode_labels(content)


def test_label_maps_are_limited_as_pictures_are(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = saved(Image.new("L", (1, 300)), "PNG")
    with pytest.raises(DataError, match="too narrow"):
        decode_labels(narrow)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for size in ((11, 11), (30, 30)):  # Pillow itself warns of the one, and refuses the other
        with pytest.raises(DataError, match="too many pixels"):
            decode_labels(saved(Image.new("L", size), "PNG"))
    assert decode_labels(saved(Image.new("L", (10, 10)), "PNG")).shape == (10, 10)


def test_formats_are_those_that_are_asked_for() -> None:
    content = saved(Image.fromarray(LABELS), "GIF")
    with opened_image(content) as image:
        assert image.format == "GIF"
    with pytest.raises(DataError, match="not an image of a known format"), opened_image(content, ("PNG",)):
        raise AssertionError("it should not be opened")


def test_label_maps_of_a_data_set_that_are_programs_huge_or_cut(tmp_path: Path) -> None:
    folder = write_mask_folder(tmp_path)
    Image.open(folder / "masks/a.png").save(tmp_path / "a.eps")
    spec = SegmentationSource(source="mask-folder", path=str(folder), windows=None)
    whole = (folder / "masks/a.png").read_bytes()
    for number, (content, reason) in enumerate(
        (
            ((tmp_path / "a.eps").read_bytes(), "PostScript"),
            (saved(Image.new("L", (20_000, 20_000)), "PNG"), "too many pixels"),
            (whole[: len(whole) // 2], "the label map cannot be read: damaged image"),
        )
    ):
        (folder / "masks/a.png").write_bytes(content)
        build_index(spec, tmp_path / str(number), tmp_path)
        (failure,) = read_table(tmp_path / str(number) / "failures.parquet").to_pylist()
        assert reason in failure["reason"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("value,classname\n1000000000000,x\n", "is not a whole number below 1048576"),
        (f"value,classname\n{'9' * 5000},x\n", "is not a whole number below"),
        ("value,classname\n-1,x\n", "is not a whole number below"),
        ("value,classname\n1," + "x" * 200_000 + "\n", "field larger than field limit"),
        ("", "has the columns"),
    ],
)
def test_tables_of_classes_that_are_odd(table: str, message: str, tmp_path: Path) -> None:
    import csv

    from pipeline.errors import SourceError

    folder = write_mask_folder(tmp_path)
    (folder / "classes.csv").write_text(table)
    before = csv.field_size_limit(131_072)
    try:
        with pytest.raises(SourceError, match=message):
            build_index(SegmentationSource(source="mask-folder", path=str(folder)), tmp_path / "index", tmp_path)
    finally:
        csv.field_size_limit(before)


def test_io_is_not_needed_to_hold_a_picture_open() -> None:
    """The bytes are in memory: nothing of a file is open once the picture is."""
    content = saved(Image.fromarray(LABELS), "PNG")
    with opened_image(content) as image:
        assert isinstance(image.fp, io.BytesIO)
