"""Windows of a sound: what an encoder hears at once."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.datasets.tables import media_id, read_pieces

_REST = 0.1  # seconds behind the last whole window that are not worth one

WINDOWS = pa.schema(
    [
        ("window_id", pa.string()),
        ("audio_id", pa.string()),
        ("number", pa.int32()),  # from 0
        ("start", pa.float64()),  # in seconds
        ("end", pa.float64()),
    ]
)


def window_count(seconds: float, window: float, most: int) -> int:
    """How many windows of so many seconds are read of a clip, at least one; a rest of a tenth of a second is left."""
    return max(1, min(most, math.ceil(round((seconds - _REST) / window, 9))))


def cut(samples: np.ndarray, rate: int, window: float, most: int) -> list[np.ndarray]:
    """The windows of a clip, of which the last may be shorter.

    Args:
        samples: (n,) float32, n at least 1.
        rate: in Hz.
        window: in seconds.
        most: of them.
    """
    length = round(window * rate)
    count = window_count(len(samples) / rate, window, most)
    return [samples[number * length : (number + 1) * length] for number in range(count)]


def window_id(audio_id: str, number: int, window: float) -> str:
    """Id of a window, a hash of what determines its samples (32 characters)."""
    return media_id(f"{audio_id} {number} {window:g} s".encode())


def window_table(index: Path, window: float, most: int) -> pa.Table:
    """The windows of all sounds of an index, in order, with the columns of `WINDOWS`; these are the rows of a view with
    `rows: window`.

    Args:
        index: its folder.
        window, most: `seconds` and `windows` of the view.

    Raises:
        DataError: the index has no sounds.
    """
    pieces = read_pieces(index / "audio.parquet", ["audio_id", "seconds"])
    return pa.concat_tables([WINDOWS.empty_table(), *(_windows(piece, window, most) for piece in pieces)])


def _windows(sounds: pa.Table, window: float, most: int) -> pa.Table:
    seconds = sounds.column("seconds").to_numpy()
    counts = np.array([window_count(length, window, most) for length in seconds.tolist()], np.int64)
    clip = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(clip)) - np.repeat(np.cumsum(counts) - counts, counts)
    audio = sounds.column("audio_id").take(pa.array(clip)).combine_chunks()
    ids = [window_id(*of, window) for of in zip(audio.to_pylist(), number.tolist(), strict=True)]
    start = number * window
    columns = [pa.array(ids, pa.string()), audio, number.astype(np.int32), start]
    return pa.Table.from_arrays([*columns, np.minimum(start + window, seconds[clip])], schema=WINDOWS)
