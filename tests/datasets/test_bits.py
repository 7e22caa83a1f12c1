"""Deep pictures that use fewer bits than their samples hold: `bits` of a view, from decoding to the fingerprint."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image, ImageFile
from pydantic import ValidationError

from pipeline.config import EncodeSettings, ImageFolderSource, ImageView, IndexSettings, SegmentationSource
from pipeline.config.load import validate
from pipeline.config.settings import settings_of
from pipeline.datasets.decode import ImageTable, check_image, decode_rgb, upright_rgb
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError, SourceError
from pipeline.inference.inputs import open_image
from tests.dag.project import ROOT
from tests.datasets.label_maps import write_mask_folder
from tests.datasets.layouts import write

RAMP = np.array([[0, 1, 15, 16, 2048, 4080, 4095]], dtype=np.uint16)  # 12 bits
EIGHT = [0, 0, 0, 1, 128, 255, 255]
COLOURS = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 1024)], axis=2)  # (1, 7, 3)
EIGHT_COLOURS = np.stack([EIGHT, EIGHT[::-1], [64] * 7], axis=1)


def png(samples: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample, (H, W, C) with C of grey, grey and alpha, RGB or RGBA; Pillow writes grey alone."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def tiff(samples: np.ndarray, order: str = "<", packed: bool = False, orientation: int = 1) -> bytes:
    """A TIFF of 16 bits a sample, (H, W, C), one strip, of either byte order, raw or deflated."""
    height, width, channels = samples.shape
    data = samples.astype(f"{order}u2").tobytes()
    data = zlib.compress(data) if packed else data
    bits = struct.pack(f"{order}{channels}H", *[16] * channels)
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, channels, 16 if channels == 1 else None)]
    tags += [(259, 3, 1, 8 if packed else 1), (262, 3, 1, 2 if channels > 2 else 1), (273, 4, 1, "data")]
    tags += [(274, 3, 1, orientation), (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(data))]
    tags += [(284, 3, 1, 1)] + ([(338, 3, 1, 2)] if channels == 4 else [])
    start = 8 + 2 + 12 * len(tags) + 4
    directory = struct.pack(f"{order}H", len(tags))
    for tag, kind, count, value in tags:
        value = start if value is None else start + len(bits) if value == "data" else value
        short = kind == 3 and (count == 1)
        form = f"{order}HHIHH" if short else f"{order}HHII"
        directory += struct.pack(form, tag, kind, count, value, *([0] if short else []))
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", 8) + directory + b"\0" * 4 + bits + data


def grey(values: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, form)
    return buffer.getvalue()


ALPHA = np.full_like(RAMP, 65535)
GREY: dict[str, bytes] = {
    "PNG": grey(RAMP, "PNG"),
    "TIFF": grey(RAMP, "TIFF"),
    "TIFF, big-endian": tiff(RAMP[..., None], ">"),
    "TIFF of int32": grey(RAMP.astype(np.int32), "TIFF"),
    "PNG with alpha": png(np.stack([RAMP, ALPHA], axis=2)),
}
COLOUR: dict[str, bytes] = {
    "PNG": png(COLOURS),
    "PNG with alpha": png(np.concatenate([COLOURS, ALPHA[..., None]], axis=2)),
    "TIFF": tiff(COLOURS),
    "TIFF, big-endian": tiff(COLOURS, ">"),
    "TIFF, deflated": tiff(COLOURS, packed=True),
    "TIFF, big-endian, deflated": tiff(COLOURS, ">", packed=True),
    "TIFF with alpha": tiff(np.concatenate([COLOURS, ALPHA[..., None]], axis=2)),
    "TIFF with alpha, deflated": tiff(np.concatenate([COLOURS, ALPHA[..., None]], axis=2), packed=True),
}


@pytest.mark.parametrize("name", GREY)
def test_twelve_bits_of_grey(name: str) -> None:
    found = np.asarray(decode_rgb(GREY[name], 12))
    assert found[0].tolist() == [[value] * 3 for value in EIGHT]


@pytest.mark.parametrize("name", COLOUR)
def test_twelve_bits_of_colour(name: str) -> None:
    assert np.asarray(decode_rgb(COLOUR[name], 12))[0].tolist() == EIGHT_COLOURS.tolist()


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("write_form", [png, tiff])
def test_every_number_of_bits_is_scaled_by_its_own_range(bits: int, write_form: Any) -> None:
    top = 2**bits - 1
    values = np.random.default_rng(bits).integers(0, top + 1, (5, 6, 3)).astype(np.uint16)
    values[0, 0] = top
    expected = (values.astype(int) * 256 // (top + 1)).tolist()
    assert np.asarray(decode_rgb(write_form(values), bits)).tolist() == expected
    assert np.asarray(decode_rgb(write_form(values[..., :1]), bits))[..., 0].tolist() == [
        [cell[0] for cell in row] for row in expected
    ]


def test_without_bits_the_upper_byte_stays_what_it_was() -> None:
    deep = np.array([[[0, 0x80FF, 0xFFFF]]], dtype=np.uint16)
    for content in (png(deep), tiff(deep), tiff(deep, ">", packed=True)):
        assert decode_rgb(content).getpixel((0, 0)) == decode_rgb(content, 16).getpixel((0, 0)) == (0, 128, 255)


@pytest.mark.parametrize("name", [*GREY, *COLOUR])
def test_a_picture_beyond_the_range_is_named_and_not_wrapped(name: str) -> None:
    content = GREY.get(name) or COLOUR[name]
    for read in (decode_rgb, lambda content, bits: check_image(content, True, bits)):
        with pytest.raises(DataError, match=r"go up to 4095, outside of the 0 to 2047 of `bits: 11`"):
            read(content, 11)


def test_pictures_of_eight_bits_and_those_that_state_a_range_are_as_before() -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    files = [b"P5 3 1 4095\n" + np.array([0, 2048, 4095], dtype=">u2").tobytes()]
    for form in ("PNG", "JPEG", "TIFF"):
        buffer = io.BytesIO()
        photo.save(buffer, form)
        files.append(buffer.getvalue())
    for content in files:
        assert np.array_equal(np.asarray(decode_rgb(content, 12)), np.asarray(decode_rgb(content)))


def test_a_turned_deep_picture_and_transparency() -> None:
    turned = np.asarray(decode_rgb(tiff(COLOURS, orientation=6), 12))
    assert turned[:, 0].tolist() == EIGHT_COLOURS.tolist()
    clear = np.concatenate([COLOURS, np.zeros_like(ALPHA)[..., None]], axis=2)
    assert np.asarray(decode_rgb(png(clear), 12)).min() == 255, "over white"


def test_what_is_not_read_with_bits_is_named() -> None:
    with pytest.raises(DataError, match="16 bits of CMYK"):
        decode_rgb(_cmyk(), 12)
    with Image.open(io.BytesIO(COLOUR["PNG"])) as opened, pytest.raises(DataError, match="give the path or the bytes"):
        upright_rgb(opened, 12)


def _cmyk() -> bytes:
    content = bytearray(tiff(np.concatenate([COLOURS, ALPHA[..., None]], axis=2)))
    place = content.index(struct.pack("<HHIH", 262, 3, 1, 2))
    content[place + 8] = 5  # photometric: separated
    place = content.index(struct.pack("<HHIH", 338, 3, 1, 2))
    content[place : place + 2] = struct.pack("<H", 40000)  # no extra sample
    return bytes(content)


def test_a_damaged_deep_picture_is_damaged() -> None:
    big = png(np.random.default_rng(0).integers(0, 4096, (64, 64, 3)).astype(np.uint16))
    with pytest.raises(DataError, match="damaged"):
        decode_rgb(big[: len(big) // 2], 12)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


def test_an_index_says_with_what_it_was_checked(tmp_path: Path) -> None:
    write(tmp_path / "raw/cell/a.tif", GREY["TIFF"])
    write(tmp_path / "raw/cell/b.png", COLOUR["PNG"])
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), max_failure_rate=0.0)
    with pytest.raises(SourceError, match=r"go up to 4095, and it states no range: .*set `bits` of its views"):
        build_index(spec, tmp_path / "none", tmp_path, tmp_path / "known")
    about = build_index(spec, tmp_path / "index", tmp_path, tmp_path / "known", bits=12)
    assert about["bits"] == 12
    stated, plain = ImageTable(tmp_path / "index"), ImageTable(tmp_path / "index", None)
    assert np.asarray(stated.load(0))[0, :, 0].tolist() == EIGHT
    assert np.asarray(stated.load(1))[0].tolist() == EIGHT_COLOURS.tolist()
    assert np.asarray(plain.load(1)).max() == 15, "the upper byte"
    with pytest.raises(SourceError, match="`bits: 11`"):
        build_index(spec, tmp_path / "less", tmp_path, tmp_path / "known", bits=11)


def test_label_maps_beside_deep_pictures(tmp_path: Path) -> None:
    folder = write_mask_folder(tmp_path)
    first = min((folder / "images").iterdir())
    with Image.open(first) as image:
        deep = np.asarray(image.convert("RGB")).astype(np.uint16) * 16
    first.unlink()
    write(first.with_suffix(".tif"), grey(deep[..., 0], "TIFF"))
    spec = SegmentationSource(source="mask-folder", path=str(folder), windows=None)
    about = build_index(spec, tmp_path / "index", tmp_path, bits=12)
    assert not about["tally"]["failed"]
    keys = read_table(tmp_path / "index/images.parquet")["key"].to_pylist()
    found = ImageTable(tmp_path / "index").load(keys.index(first.stem))
    assert np.array_equal(np.asarray(found)[..., 0], deep[..., 0] >> 4)


def test_the_stages_get_the_bits_of_the_views() -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params.pop("hydra")
    name, store = next(iter(params["stores"]["pairs"].items()))
    before = settings_of(validate(params), "encode", name)
    assert isinstance(before, EncodeSettings)
    assert "bits" not in before.model_dump(mode="json")["view"]
    params["views"][store["view"]]["bits"] = 12
    index = settings_of(validate(params), "index", store["dataset"])
    assert isinstance(index, IndexSettings)
    assert index.bits == index.model_dump(mode="json")["bits"] == 12
    encode = settings_of(validate(params), "encode", name)
    assert isinstance(encode, EncodeSettings)
    compared = encode.view.compared(encode.encoder)
    assert compared["bits"] == 12
    assert ImageView.from_compared({"stored_dtype": encode.view.dtype, **compared}).bits == 12
    assert "bits" not in before.view.compared(before.encoder)


@pytest.mark.parametrize("bits", [7, 17, 12.0, "12", True])
def test_bits_are_whole_numbers_from_8_to_16(bits: Any) -> None:
    with pytest.raises(ValidationError):
        ImageView(encoder="eye", resolution=28, bits=bits)


def test_a_new_picture_is_read_with_the_bits_of_the_view(tmp_path: Path) -> None:
    write(tmp_path / "a.png", COLOUR["PNG"])
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), COLOUR["PNG"]):
        assert np.asarray(open_image(given, bits=12))[0].tolist() == EIGHT_COLOURS.tolist()
    with pytest.raises(DataError, match=r"a\.png: its pixels go up to 4095"):
        open_image(tmp_path / "a.png", bits=11)
