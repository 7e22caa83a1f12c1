"""Pictures that are unusual or broken, each with what becomes of it."""

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

RED = (220, 30, 30)


@dataclass(frozen=True)
class Outcome:
    """A reason, or width, height and the colour at the top left, to within 12 of 255.

    `behind` says that the damage lies behind the header, where reading headers alone does not see it.
    """

    reason: str = ""
    size: tuple[int, int] = (0, 0)
    colour: tuple[int, int, int] = (0, 0, 0)
    behind: bool = False


def good(width: int, height: int, colour: tuple[int, int, int]) -> Outcome:
    return Outcome("", (width, height), colour)


def bad(reason: str, behind: bool = False) -> Outcome:
    return Outcome(reason, behind=behind)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def plain(form: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    return saved(Image.new("RGB", size, RED), form, **options)


def noise(form: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels), form)


def frames(form: str) -> bytes:
    first, second = (Image.new("RGB", (8, 6), colour) for colour in (RED, (0, 0, 255)))
    return saved(first, form, save_all=True, append_images=[second], **({"lossless": True} if form == "WEBP" else {}))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *extra: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_rgb() -> bytes:
    row = b"\0" + struct.pack(">3H", 0xDC00, 0x1E00, 0x1E00) * 2
    return png(2, 2, 16, 2, row * 2)


def palette() -> bytes:
    image = Image.new("P", (8, 6), 0)
    image.putpalette([9, 9, 9, 10, 20, 30])
    return saved(image, "PNG", transparency=0)


def turned(orientation: int = 6) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return plain("JPEG", exif=exif, quality=95)


def broken_exif() -> bytes:
    return plain("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + b"\xff" * 20, quality=95)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def text_bomb() -> bytes:
    about = PngImagePlugin.PngInfo()
    about.add_text("comment", "x" * (3 << 20), zip=True)
    return saved(Image.new("RGB", (8, 6), RED), "PNG", pnginfo=about)


def half_gif() -> bytes:
    whole = frames("GIF")
    return whole[: len(whole) - 12]


def huge(width: int, height: int) -> bytes:
    """The header of a picture whose pixels are not there."""
    return png(width, height, 1, 0, b"\0" * 100)


PICTURES: dict[str, tuple[Callable[[], bytes], Outcome]] = {
    "plain.png": (plain, good(8, 6, RED)),
    "cut.jpg": (lambda: noise("JPEG")[:900], bad("damaged image", behind=True)),
    "cut.png": (lambda: noise("PNG")[:900], bad("damaged image", behind=True)),
    "cut.webp": (lambda: noise("WEBP")[:200], bad("damaged image")),
    "cut-header.jpg": (lambda: plain("JPEG")[:12], bad("damaged image")),
    "empty.jpg": (lambda: b"", bad("empty file")),
    "zeros.jpg": (lambda: b"\0" * 4096, bad("not an image of a known format")),
    "noise.jpg": (lambda: np.random.default_rng(1).bytes(4096), bad("not an image of a known format")),
    "text.jpg": (lambda: b"404: not found", bad("not an image of a known format")),
    "svg.png": (lambda: b'<?xml version="1.0"?><svg xmlns="x"></svg>', bad("it looks like SVG")),
    "html.jpg": (lambda: b"\n<!DOCTYPE html><html><body>gone</body></html>", bad("it looks like HTML")),
    "pdf.jpg": (lambda: b"%PDF-1.7\n%abc", bad("it looks like a PDF")),
    "eps.jpg": (lambda: saved(Image.new("RGB", (8, 6)), "EPS"), bad("not an image of a known format")),
    "zipped.png": (lambda: zlib.compress(plain()), bad("not an image of a known format")),
    "really-png.jpg": (plain, good(8, 6, RED)),
    "really-jpeg.png": (lambda: plain("JPEG", quality=95), good(8, 6, RED)),
    "cmyk.jpg": (
        lambda: saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95),
        good(8, 8, (255, 0, 0)),
    ),
    "cmyk.tif": (lambda: saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"), good(8, 8, (255, 0, 0))),
    "palette.png": (palette, good(8, 6, (255, 255, 255))),
    "palette.gif": (lambda: plain("GIF"), good(8, 6, RED)),
    "deep-grey.png": (
        lambda: saved(Image.fromarray(np.full((6, 8), 0x8000, dtype=np.uint16)), "PNG"),
        good(8, 6, (128, 128, 128)),
    ),
    "deep-colour.png": (deep_rgb, good(2, 2, RED)),
    "float.tif": (
        lambda: saved(Image.fromarray(np.ones((6, 8), dtype=np.float32)), "TIFF"),
        good(8, 6, (255, 255, 255)),
    ),
    "grey-alpha.png": (lambda: saved(Image.new("LA", (8, 6), (9, 0)), "PNG"), good(8, 6, (255, 255, 255))),
    "transparent.webp": (lambda: saved(Image.new("RGBA", (8, 6), (9, 9, 9, 0)), "WEBP"), good(8, 6, (255, 255, 255))),
    "bilevel.png": (lambda: saved(Image.new("1", (8, 6), 1), "PNG"), good(8, 6, (255, 255, 255))),
    "animated.gif": (lambda: frames("GIF"), good(8, 6, RED)),
    "animated.webp": (lambda: frames("WEBP"), good(8, 6, RED)),
    "animated.png": (lambda: frames("PNG"), good(8, 6, RED)),
    "half-animated.gif": (half_gif, good(8, 6, RED)),
    "pages.tif": (lambda: frames("TIFF"), good(8, 6, RED)),
    "turned.jpg": (turned, good(6, 8, RED)),
    "mirrored.jpg": (lambda: turned(2), good(8, 6, RED)),
    "impossible-turn.jpg": (lambda: turned(77), good(8, 6, RED)),
    "broken-exif.jpg": (broken_exif, good(8, 6, RED)),
    "bomb.png": (lambda: huge(60000, 60000), bad("too many pixels")),
    "large.png": (lambda: huge(10000, 10000), bad("too many pixels")),
    "text-bomb.png": (text_bomb, good(8, 6, RED)),
    "dot.png": (lambda: plain(size=(1, 1)), good(1, 1, RED)),
    "three-high.png": (lambda: plain(size=(5, 3)), good(5, 3, RED)),
    "one-high.png": (lambda: plain(size=(9, 1)), good(9, 1, RED)),
    "one-wide.png": (lambda: plain(size=(1, 3)), good(1, 3, RED)),
    "thread.png": (lambda: plain(size=(1, 5000)), bad("too narrow (1 x 5000 pixels")),
    "flipped.png": (lambda: flipped(noise("PNG"), 3000), bad("damaged image", behind=True)),
    "no-size.png": (lambda: png(0, 6, 8, 2, b"\0"), bad("not an image of a known format")),
    "tail.jpg": (lambda: plain("JPEG", quality=95) + b"<?php echo 1; ?>", good(8, 6, RED)),
    "icon.ico": (lambda: plain("ICO", size=(16, 16)), good(16, 16, RED)),
    "bitmap.bmp": (lambda: plain("BMP"), good(8, 6, RED)),
    "jpeg2000.jp2": (lambda: plain("JPEG2000"), good(8, 6, RED)),
    "portable.ppm": (lambda: plain("PPM"), good(8, 6, RED)),
}
