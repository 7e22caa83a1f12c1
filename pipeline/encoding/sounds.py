"""The sounds of an index by the ids of a view's rows: whole clips, or single windows of them."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.config import AudioView
from pipeline.datasets.audio.decode import AudioTable, Sound
from pipeline.datasets.audio.windows import window_count, window_table
from pipeline.encoding.further import require_samples
from pipeline.ids import Ids
from pipeline.row_map import RowMap

log = logging.getLogger(__name__)


def audio_ids(index: Path, view: AudioView) -> Ids:
    """The rows of a view, in the order of the index.

    Raises:
        DataError: the index has no sounds.
    """
    require_samples(index, "audio")
    if view.rows == "window":
        return Ids.of(window_table(index, view.seconds, view.windows).column("window_id"))
    return AudioTable(index).row_ids


class IndexedSounds:
    """What a view reads of the sounds of an index, by id.

    Args:
        index: its folder.
        view: its windows, and whether they are rows.
    """

    def __init__(self, index: Path, view: AudioView) -> None:
        require_samples(index, "audio")
        self._table, self._view = AudioTable(index), view
        self._numbers: np.ndarray | None = None  # of windows, where these are rows
        ids, self._clips = self._table.row_ids, np.arange(len(self._table))
        if view.rows == "window":
            windows = window_table(index, view.seconds, view.windows)
            self._clips = RowMap(ids).find(windows.column("audio_id"))
            self._numbers = windows.column("number").to_numpy()
            ids = Ids.of(windows.column("window_id"))
        self._positions, self._seconds = RowMap(ids), self._table.seconds
        longer = int(np.count_nonzero(self._seconds > view.seconds * view.windows + 0.1))
        if longer:
            log.info(
                "%d of %d sounds are longer than %d windows of %g s; what lies behind these is not read",
                *(longer, len(self._table), view.windows, view.seconds),
            )

    def window_counts(self, ids: Sequence[str]) -> list[int]:
        """How many windows each row has."""
        rows = self._found(ids)
        if self._numbers is not None:
            return [1] * len(rows)
        seconds = self._seconds[self._clips[rows]].tolist()
        return [window_count(length, self._view.seconds, self._view.windows) for length in seconds]

    def seconds(self, ids: Sequence[str]) -> list[list[float]]:
        """How long each window of each row is, in seconds."""
        lengths = self._seconds[self._clips[self._found(ids)]].tolist()
        window, out = self._view.seconds, []
        for length, count, number in zip(lengths, self.window_counts(ids), self._first_window(ids), strict=True):
            starts = [(number + step) * window for step in range(count)]
            out.append([min(window, length - start) for start in starts])
        return out

    def load(self, identifier: str) -> tuple[Sound, int | None]:
        """The part of a sound that is read, and the number of the window that is meant, None for all of them.

        Raises:
            DataError: it cannot be read or decoded.
        """
        row = int(self._found([identifier])[0])
        sound = self._table.load(int(self._clips[row]), self._view.seconds * self._view.windows)
        return sound, None if self._numbers is None else int(self._numbers[row])

    def _first_window(self, ids: Sequence[str]) -> list[int]:
        return [0] * len(ids) if self._numbers is None else self._numbers[self._found(ids)].tolist()

    def _found(self, ids: Sequence[str]) -> np.ndarray:
        positions = self._positions.find(ids)
        if (positions < 0).any():
            raise KeyError(ids[int(np.flatnonzero(positions < 0)[0])])
        return positions
