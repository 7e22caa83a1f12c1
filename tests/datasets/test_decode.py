"""Every kind of image file becomes upright RGB, or an error with a short reason."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.decode import ImageTable, decode_rgb, read_bytes
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
