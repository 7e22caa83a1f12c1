"""Windows of a sound: what an encoder hears at once."""

import math
from collections.abc import Iterator
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
    return pa.Table.from_pylist(list(_windows(index, window, most)), schema=WINDOWS)


def _windows(index: Path, window: float, most: int) -> Iterator[dict[str, object]]:
    for piece in read_pieces(index / "audio.parquet", ["audio_id", "seconds"]):
        for row in piece.to_pylist():
            for number in range(window_count(row["seconds"], window, most)):
                start = number * window
                yield {
                    "window_id": window_id(row["audio_id"], number, window),
                    "audio_id": row["audio_id"],
                    "number": number,
                    "start": start,
                    "end": min(start + window, row["seconds"]),
                }
