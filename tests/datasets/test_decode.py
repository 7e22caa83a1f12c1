"""Every kind of image file becomes upright RGB, or an error with a short reason."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin, TiffImagePlugin

from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.decode import ImageTable, check_image, decode_rgb, read_bytes
from pipeline.errors import DataError
from tests.datasets.conftest import picture


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_transparency_lies_on_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    for form in (image, image.convert("LA")):
        assert decode_rgb(encoded(form)).getpixel((1, 0)) == (255, 255, 255)
    assert decode_rgb(encoded(image)).getpixel((0, 0)) == (255, 0, 0)


def test_palette_with_transparency() -> None:
    image = Image.new("P", (2, 1), 1)
    image.putpalette([9, 9, 9, 10, 20, 30])
    image.putpixel((0, 0), 0)
    decoded = decode_rgb(encoded(image, transparency=0))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 0)) == (10, 20, 30)


def test_exif_turns_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert decode_rgb(encoded(Image.new("RGB", (6, 2)), "JPEG", exif=exif)).size == (2, 6)


def test_cmyk_grey_bilevel_and_16_bit() -> None:
    cmyk = decode_rgb(encoded(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), "JPEG", quality=95))
    assert min(cmyk.getpixel((4, 4))) > 245  # type: ignore[type-var, arg-type]
    assert decode_rgb(encoded(Image.new("L", (1, 1), 77))).getpixel((0, 0)) == (77, 77, 77)
    assert decode_rgb(encoded(Image.new("1", (1, 1), 1))).getpixel((0, 0)) == (255, 255, 255)
    deep = Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))
    assert [decode_rgb(encoded(deep)).getpixel((x, 0)) for x in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]
    unit = Image.fromarray(np.array([[0.0, 1.0]], dtype=np.float32))
    assert decode_rgb(encoded(unit, "TIFF")).getpixel((1, 0)) == (255, 255, 255)


def test_what_is_no_picture() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = encoded(noise)
    with pytest.raises(DataError, match="damaged"):
        decode_rgb(whole[: len(whole) // 2])
    for content in (b"hello", b"<svg/>"):
        with pytest.raises(DataError, match="not an image"):
            decode_rgb(content)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for side in (11, 40):  # a warning in Pillow, and an error
        with pytest.raises(DataError, match="too many pixels"):
            decode_rgb(encoded(Image.new("1", (side, side))))


def test_offsets_address_the_png_bytes(tmp_path: Path) -> None:
    contents = [picture(number) for number in range(5)]
    with IndexBuilder(tmp_path) as builder:
        ids = [builder.add_image(content, str(number)) for number, content in enumerate(contents)]
        builder.add_image(contents[0], "again")
        builder.finish({"source": "made"})
    table = pickle.loads(pickle.dumps(ImageTable(tmp_path)))
    assert table.ids == ids
    assert len(table) == 5
    assert table.load(3).getpixel((0, 0)) == (3, 0, 0)
    for position, content in enumerate(contents):
        assert read_bytes(table.row(position), tmp_path) == content
    with pytest.raises(DataError, match="too short"):
        read_bytes({"path": "images.tar", "offset": 10**9, "length": 8}, tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_bytes({"path": "absent", "offset": 0, "length": -1}, tmp_path)


def tiff(values: np.ndarray, **tags: int | float) -> bytes:
    names = {"least": 280, "most": 281, "signed_least": 340, "signed_most": 341, "orientation": 274}
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        number = names[name]
        directory[number] = value
        if number in (340, 341):
            directory.tagtype[number] = 12 if isinstance(value, float) else 9
    return encoded(Image.fromarray(values), "TIFF", tiffinfo=directory)


RAMP = np.array([[0.0, 0.5, 1.0]])
RANGES: dict[str, tuple[bytes, list[int]]] = {
    "12 bits in 16": (tiff((RAMP * 4095).round().astype(np.uint16), most=4095), [0, 128, 255]),
    "10 bits in 16, from 100": (tiff((100 + RAMP * 923).astype(np.uint16), least=100, most=1023), [0, 127, 255]),
    "16 bits": (tiff((RAMP * 65535).round().astype(np.uint16)), [0, 128, 255]),
    "8 bits in int32": (tiff((RAMP * 255).round().astype(np.int32)), [0, 128, 255]),
    "16 bits in int32": (tiff((RAMP * 65535).round().astype(np.int32)), [0, 128, 255]),
    "signed int32": (tiff((RAMP * 2000 - 1000).astype(np.int32), signed_least=-1000, signed_most=1000), [0, 127, 255]),
    "floats to 1": (tiff(RAMP.astype(np.float32)), [0, 128, 255]),
    "floats to 255": (tiff((RAMP * 255).astype(np.float32)), [0, 128, 255]),
    "floats to 4095": (tiff((RAMP * 4095).astype(np.float32), signed_least=0.0, signed_most=4095.0), [0, 128, 255]),
    "black": (tiff(np.zeros((1, 3), dtype=np.uint16)), [0, 0, 0]),
    "12-bit PGM": (b"P5 3 1 4095\n" + np.array([0, 2048, 4095], dtype=">u2").tobytes(), [0, 128, 255]),
    "no number": (tiff(np.array([[0, np.nan, 1]], dtype=np.float32)), [0, 0, 255]),
}


@pytest.mark.parametrize("name", RANGES)
def test_deep_grey_is_scaled_by_the_range_that_the_file_states(name: str) -> None:
    content, expected = RANGES[name]
    assert np.asarray(decode_rgb(content))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (tiff((RAMP * 4095).astype(np.uint16)), "16 bits and go up to 4095"),
        (tiff((RAMP * 1023).astype(np.int32)), "from 0 to 1023"),
        (tiff((RAMP * 100000).astype(np.int32)), "from 0 to 100000"),
        (tiff((RAMP * 2 - 1).astype(np.float32)), "from -1 to 1"),
        (tiff((RAMP * 1.5).astype(np.float32)), "from 0 to 1.5"),
        (tiff((RAMP * 65535).astype(np.float32)), "from 0 to 65535"),
        (tiff(np.array([[0, np.inf]], dtype=np.float32)), "from 0 to inf"),
        (tiff((RAMP * 4095).astype(np.uint16), most=1023), "outside of the 0 to 1023 that it states"),
    ],
)
def test_deep_grey_without_a_range_is_refused(content: bytes, found: str) -> None:
    with pytest.raises(DataError, match=found):
        decode_rgb(content)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["TIFF", "PNG", "JPEG", "WEBP"])
def test_every_orientation_has_the_size_and_corner_of_exif_transpose(form: str, orientation: int) -> None:
    image = Image.new("RGB", (32, 16))
    image.paste((255, 255, 255), (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(image, form, exif=exif)
    with Image.open(io.BytesIO(content)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(np.asarray(decode_rgb(content)), expected)
    assert check_image(content, whole=False)[0] == check_image(content)[0] == expected.shape[1::-1]


def test_a_turned_deep_png_keeps_its_range() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.array([[0, 0x8000, 0xFFFF]], dtype=np.uint16))
    assert np.asarray(decode_rgb(encoded(deep, exif=exif)))[:, 0, 0].tolist() == [0, 128, 255]


def test_profiles_and_comments_of_any_size_do_not_spoil_a_png() -> None:
    about = PngImagePlugin.PngInfo()
    about.add_itxt("note", "x" * (3 << 20), zip=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    for options in ({"icc_profile": b"\0" * (3 << 20)}, {"pnginfo": about}):
        assert decode_rgb(encoded(image, exif=exif, **options)).size == (1, 2)


STRANGERS = {
    b"\0\0\0\x18ftypheic": "HEIC, which is not read",
    b"\0\0\0\x18ftypmif1": "HEIF",
    b"\0\0\0\x18ftypisom": "a video",
    b"\xff\x0a\0": "JPEG XL",
    b"\0\0\0\x0cJXL \r\n": "JPEG XL",
    b"PK\x03\x04": "a zip archive",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:": "a Git LFS pointer: run git lfs pull",
    b"8BPS": "a Photoshop file",
    b"%!PS-Adobe-3.0 EPSF": "PostScript",
    b'{"error": 404}': "JSON",
    b"\0" * 99: "all of it is zero",
}


@pytest.mark.parametrize("content", STRANGERS)
def test_a_stranger_is_named(content: bytes) -> None:
    with pytest.raises(DataError, match=f"not an image of a known format.*{STRANGERS[content]}"):
        decode_rgb(content)
