"""From the bytes of a sound to samples, through libsndfile; imports neither torch nor transformers."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.datasets.audio.whole import cut_short
from pipeline.datasets.decode import indexed_bytes
from pipeline.datasets.known import Checked
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError, SourceError
from pipeline.ids import Ids

LEAST_RATE, MOST_RATE = 1_000, 768_000  # Hz
MOST_CHANNELS = 256
_BLOCK = 1 << 18  # frames decoded at a time
_LOUD = 2.0  # a peak beyond this is no overshoot of a codec: the samples have the scale of integers
_MOST_DENOMINATOR = 1000  # of a ratio of rates; 44,101 Hz is resampled as the nearest rate of such a ratio


@dataclass(frozen=True)
class Sound:
    """A sound as it is heard: one channel.

    Attributes:
        samples: (n,) float32.
        rate: in Hz.
    """

    samples: np.ndarray
    rate: int


@dataclass(frozen=True)
class SoundInfo:
    """What a sound file holds.

    Attributes:
        frames: samples of each channel.
        rate: in Hz.
        form: the format in lower case, as libsndfile calls it: wav, flac, ogg, mp3.
    """

    frames: int
    rate: int
    channels: int
    form: str

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.frames / self.rate

    @property
    def columns(self) -> tuple[int, int, int, float]:
        """What the table of sounds has of it."""
        return self.rate, self.channels, self.frames, self.seconds

    def checked(self, identity: str) -> Checked:
        """The same as the result of a check."""
        return Checked(identity, (self.frames, self.rate), f"{self.form}/{self.channels}")

    @classmethod
    def of(cls, checked: Checked) -> "SoundInfo":
        """As it was checked."""
        form, _, channels = checked.form.partition("/")
        return cls(*checked.size, int(channels), form)


def check_sound(content: bytes, whole: bool = True) -> SoundInfo:
    """What a sound file holds; it is decoded in pieces, so that one of hours takes no more memory than its bytes.

    Args:
        whole: decode it completely; else only the header is read, and later damage shows when the sound is encoded.

    Raises:
        DataError: as `decode`.
    """
    with _opened(content) as file:
        info = SoundInfo(file.frames, file.samplerate, file.channels, str(file.format).lower())
        if whole:
            frames = sum(len(piece) for piece in _pieces(file, None))
            _require_all(frames, info.frames)
        return info


def decode(content: bytes, seconds: float | None = None) -> Sound:
    """Decode a sound, its channels averaged.

    Samples of 8 to 32 bits and floating point come as numbers from -1 to 1. Of floating point that has the scale of
    integers (a peak beyond 2) the peak is brought to 1.

    Args:
        seconds: how much of it is wanted, from its start; None for all.

    Raises:
        DataError: not a sound, cut short, without samples, with NaN or infinity in it, or with an impossible rate; with
            a short reason.
        SourceError: the package soundfile is not installed.
    """
    with _opened(content) as file:
        most = None if seconds is None else max(1, round(seconds * file.samplerate))
        samples = np.concatenate([np.empty(0, np.float32), *_pieces(file, most)])
        _require_all(len(samples), file.frames if most is None else min(most, file.frames))
        rate = int(file.samplerate)
    peak = float(np.abs(samples).max())
    return Sound(samples / np.float32(peak) if peak > _LOUD else samples, rate)


def resampled(sound: Sound, rate: int) -> np.ndarray:
    """The samples (n,) float32 at another rate in Hz, through a polyphase filter without phase shift."""
    if sound.rate == rate:
        return sound.samples
    from scipy.signal import resample_poly

    ratio = Fraction(rate, sound.rate).limit_denominator(_MOST_DENOMINATOR)
    out = resample_poly(sound.samples, ratio.numerator, ratio.denominator)
    return np.ascontiguousarray(out, np.float32)


class AudioTable:
    """The sounds of one index, by position.

    Holds no open file, so it may be pickled into worker processes and shared by threads.
    """

    def __init__(self, folder: Path) -> None:
        """Open the index in `folder`.

        Raises:
            DataError: there is no index, or none of sounds.
        """
        columns = ["audio_id", "path", "offset", "length", "seconds"]
        self._folder = folder
        self._table = read_table(folder / "audio.parquet", columns).combine_chunks()

    @property
    def row_ids(self) -> Ids:
        """The ids of the sounds, in the order of the index."""
        return Ids.of(self._table.column("audio_id"))

    @property
    def seconds(self) -> np.ndarray:
        """(N,) float64, how long each is."""
        return np.asarray(self._table.column("seconds").to_numpy(), np.float64)

    def __len__(self) -> int:
        return len(self._table)

    def row(self, position: int) -> dict[str, Any]:
        """The row of audio.parquet of sound number `position`."""
        row: dict[str, Any] = self._table.slice(position, 1).to_pylist()[0]
        return row

    def rows(self, positions: np.ndarray) -> pa.Table:
        """The rows of some sounds, in that order."""
        return self._table.take(pa.array(positions, pa.int64()))

    def load(self, position: int, seconds: float | None = None) -> Sound:
        """Sound number `position`; errors as `load_row`."""
        return load_row(self.row(position), self._folder, seconds)


def load_row(row: Mapping[str, Any], index_folder: Path, seconds: float | None = None) -> Sound:
    """The sound of one row of audio.parquet (`audio_id`, `path`, `offset`, `length`).

    Raises:
        DataError: it cannot be read or decoded, or a raw file is no longer what was indexed.
    """
    return decode(indexed_bytes(row, index_folder, row["audio_id"]), seconds)


@contextmanager
def _opened(content: bytes) -> Iterator[Any]:
    """The sound file, its header checked.

    Raises:
        DataError, SourceError: as `decode`.
    """
    soundfile = require_soundfile()
    if not content:
        raise DataError("an empty file")
    if reason := cut_short(content):
        raise DataError(reason)
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            if not LEAST_RATE <= file.samplerate <= MOST_RATE:
                raise DataError(
                    f"a sample rate of {file.samplerate:,} Hz; from {LEAST_RATE:,} to {MOST_RATE:,} Hz are read"
                )
            if not 1 <= file.channels <= MOST_CHANNELS:
                raise DataError(f"{file.channels:,} channels; up to {MOST_CHANNELS} are read")
            if file.frames < 1:
                raise DataError("a sound without samples")
            yield file
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(f"not a sound that libsndfile reads: {_short(error)}") from error
    except MemoryError as error:
        raise DataError("the memory does not suffice to decode it") from error


def _pieces(file: Any, most: int | None) -> Iterator[np.ndarray]:
    """One channel in pieces, (n,) float32, up to `most` frames.

    Raises:
        DataError: a sample is NaN or infinite.
    """
    left = file.frames if most is None else most
    while left > 0:
        frames = file.read(min(_BLOCK, left), dtype="float32", always_2d=True)
        if not len(frames):
            return
        left -= len(frames)
        piece = frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float32)
        if not np.isfinite(piece).all():
            raise DataError("samples that are NaN or infinite")
        yield np.ascontiguousarray(piece)


def _require_all(frames: int, expected: int) -> None:
    if frames < expected:
        raise DataError(f"cut short; {frames:,} of {expected:,} samples can be decoded")


def require_soundfile() -> Any:
    """The package soundfile.

    Raises:
        SourceError: it is not installed; the message has the pip command.
    """
    try:
        import soundfile
    except (ImportError, OSError) as error:  # an OSError where its libsndfile does not load
        raise SourceError(
            f"sounds are read through the package soundfile, which does not load here ({_short(error)}); run: pip "
            "install 'permafrost-align[audio]', or pip install soundfile"
        ) from error
    return soundfile


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
