"""Results of earlier checks of raw files, so that an unchanged file is not read again.

They are kept in SQLite beside DVC's cache, since indexes are deleted before their stage runs again. A file counts as
unchanged if its path, size and modification time are; losing these results costs only time.
"""

import contextlib
import hashlib
import logging
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.datasets.samples import Picture

log = logging.getLogger(__name__)

FILE = "known-images.sqlite"
_MIN_AGE = 2.0  # seconds; a file modified more recently may change again within the resolution of its time stamp
_VERSION = 2  # increase it when the check rejects other images than before
_TOGETHER = 2000  # rows written in one transaction
_COLUMNS = "place BLOB PRIMARY KEY, id BLOB, width INT, height INT, form TEXT"
_TABLE = f"CREATE TABLE IF NOT EXISTS images ({_COLUMNS}) WITHOUT ROWID"


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking an image: its id, width and height, and its format."""

    identity: str
    size: tuple[int, int]
    form: str


class KnownImages:
    """The images that passed the check before, by place; a context manager."""

    def __init__(self, folder: Path | None, check: str = "decode") -> None:
        """Open the results in `folder`, of this kind of `check` only; None keeps nothing."""
        self._check = check
        self._path = None if folder is None else folder / FILE
        self._database: sqlite3.Connection | None = None
        self._stats: tuple[Path, tuple[int, int] | None] | None = None
        self._waiting: list[tuple[bytes, bytes, int, int, str]] = []
        self._empty = True  # if so, no look-ups are needed

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = _opened(self._path)
            self._empty = not self._database.execute("SELECT EXISTS (SELECT 1 FROM images)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            log.warning("%s is damaged (%s) and is replaced; images are read again", self._path, error)
            self._path.unlink(missing_ok=True)
            self._database = _opened(self._path)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._database is not None:
            self._write()
            self._database.close()
            self._database = None

    def place(self, picture: Picture) -> bytes | None:
        """A key of the picture's file, size, modification time and range; None if modified just now."""
        if self._database is None or picture.path is None:
            return None
        if self._stats is None or self._stats[0] != picture.path:
            self._stats = (picture.path, _unchanging_stat(picture.path))
        stats = self._stats[1]
        if stats is None:
            return None
        place = (_VERSION, self._check, picture.path, *stats, picture.offset, picture.length)
        written = "\0".join(map(str, place))
        return hashlib.blake2b(written.encode("utf-8", "surrogateescape"), digest_size=16).digest()

    def get(self, place: bytes | None) -> Checked | None:
        """The result stored for that place."""
        if place is None or self._database is None or self._empty:
            return None
        with contextlib.suppress(sqlite3.Error):
            row = self._database.execute("SELECT id, width, height, form FROM images WHERE place = ?", (place,))
            if result := row.fetchone():
                return Checked(result[0].hex(), (result[1], result[2]), result[3])
        return None

    def put(self, place: bytes | None, checked: Checked) -> None:
        """Store the result for that place."""
        if place is None or self._database is None:
            return
        self._waiting.append((place, bytes.fromhex(checked.identity), *checked.size, checked.form))
        if len(self._waiting) >= _TOGETHER:
            self._write()

    def _write(self) -> None:
        assert self._database is not None
        with contextlib.suppress(sqlite3.Error):  # if another process holds the lock for long, files are read again
            self._database.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)", self._waiting)
            self._database.commit()
        self._waiting = []


def _opened(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(_TABLE)
    return database


def _unchanging_stat(path: Path) -> tuple[int, int] | None:
    """Size and modification time in nanoseconds; None for a file that is missing or was modified just now."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # a path with a zero byte
        return None
    return None if time.time() - stat.st_mtime < _MIN_AGE else (stat.st_size, stat.st_mtime_ns)
