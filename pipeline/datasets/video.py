"""Videos as a further modality: animated GIF, WebP and PNG through Pillow, others through PyAV if it is installed."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from PIL import Image, ImageSequence

from pipeline.datasets.known import Checked
from pipeline.datasets.opened import opened_image
from pipeline.errors import DataError, SourceError

ENDINGS: Final = ("gif", "webp", "png", "apng", "mp4", "m4v", "mov", "mkv", "webm", "avi")
COLUMNS: Final = (
    ("frames", pa.int64()),
    ("seconds", pa.float64()),  # 0 where the file does not say it
    ("width", pa.int32()),
    ("height", pa.int32()),
)
MOST_FRAMES = 200_000
_PICTURES = ("GIF", "WEBP", "PNG")
_FORMS = {b"ftyp": "mp4", b"\x1a\x45\xdf\xa3": "matroska", b"RIFF": "avi"}  # what PyAV is told to read


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds."""

    frames: int
    milliseconds: int
    width: int
    height: int
    form: str

    @property
    def columns(self) -> tuple[int, float, int, int]:
        """What the table of videos has of it."""
        return self.frames, self.milliseconds / 1000, self.width, self.height

    def checked(self, identity: str) -> Checked:
        """See `Info`."""
        return Checked(identity, (self.frames, self.milliseconds), f"{self.form}/{self.width}x{self.height}")


def told(checked: Checked) -> VideoInfo:
    """See `Reader`."""
    form, _, size = checked.form.partition("/")
    width, _, height = size.partition("x")
    return VideoInfo(*checked.size, int(width), int(height), form)


def check(content: bytes, whole: bool = True) -> VideoInfo:
    """What a video file holds.

    Args:
        whole: decode every frame; else damage behind the first one shows when the video is encoded.

    Raises:
        DataError: not a video that is read here, damaged, or with more than `MOST_FRAMES` frames.
        SourceError: it needs PyAV, which is not installed.
    """
    form = _container(content)
    if form is not None:
        with _opened(content, form) as (stream, frames):
            stated = stream.container.duration or 0  # in microseconds, of the whole file
            length = float(stream.duration * stream.time_base) if stream.duration else stated / 1e6
            size = stream.codec_context.width, stream.codec_context.height
            count = sum(1 for _ in _bounded(frames)) if whole or not stream.frames else int(stream.frames)
        if not count:
            raise DataError("a video without frames")
        return VideoInfo(count, round(1000 * length), *size, form)
    with opened_image(content, _PICTURES) as image:
        count, length, form, size = int(getattr(image, "n_frames", 1)), 0.0, str(image.format).lower(), image.size
        if count > MOST_FRAMES:
            raise DataError(f"more than {MOST_FRAMES:,} frames")
        for frame in ImageSequence.Iterator(image) if whole else ():
            frame.load()
            length += float(frame.info.get("duration") or 0)
        return VideoInfo(count, round(length), *size, form)


def decode(content: bytes, count: int, frames: int) -> list[Image.Image]:
    """Some frames of a video as RGB, evenly spread: the middle of each of `count` equal parts; errors as `check`.

    Args:
        frames: how many there are; of fewer than `count` some are repeated.
    """
    wanted = [min(frames - 1, (2 * part + 1) * frames // (2 * count)) for part in range(count)]
    found: dict[int, Image.Image] = {}
    form = _container(content)
    if form is None:
        with opened_image(content, _PICTURES) as image:
            for number in sorted({*wanted}):
                image.seek(number)
                found[number] = _over_white(image)
    else:
        with _opened(content, form) as (_, decoded):
            for number, one in enumerate(_bounded(decoded)):
                if number in wanted:
                    found[number] = one.to_image()
                if number >= wanted[-1]:
                    break
    if missing := [number for number in wanted if number not in found]:
        raise DataError(f"cut short; frame {missing[0] + 1} of {frames} cannot be decoded")
    return [found[number] for number in wanted]


def _over_white(image: Image.Image) -> Image.Image:
    rgba = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _container(content: bytes) -> str | None:
    """How PyAV is told to read a file; None of one that Pillow reads."""
    if content[:4] == b"RIFF" and content[8:12] != b"AVI ":
        return None  # WebP
    return next((form for sign, form in _FORMS.items() if content[:4] == sign or content[4:8] == sign), None)


def _bounded(frames: Iterator[Any]) -> Iterator[Any]:
    for number, frame in enumerate(frames):
        if number >= MOST_FRAMES:
            raise DataError(f"more than {MOST_FRAMES:,} frames")
        yield frame


@contextmanager
def _opened(content: bytes, form: str) -> Iterator[tuple[Any, Iterator[Any]]]:
    """The first stream of pictures and its frames; the form is told, so that no list of other files is followed."""
    try:
        import av
    except ImportError as error:
        raise SourceError(
            "videos other than animated GIF, WebP and PNG are read through the package av (PyAV), which is not "
            "installed; run: pip install 'permafrost-align[video]'"
        ) from error
    try:
        with av.open(io.BytesIO(content), format=form) as container:
            streams: Sequence[Any] = container.streams.video
            if not streams:
                raise DataError("no pictures in it")
            stream = streams[0]
            pixels = stream.codec_context.width * stream.codec_context.height
            if Image.MAX_IMAGE_PIXELS and pixels > Image.MAX_IMAGE_PIXELS:
                raise DataError(f"too many pixels (more than {Image.MAX_IMAGE_PIXELS})")
            yield stream, container.decode(stream)
    except (av.error.FFmpegError, ValueError) as error:
        raise DataError(f"not a video that FFmpeg reads: {' '.join(str(error).split())[:200]}") from error
