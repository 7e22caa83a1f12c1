"""Results of earlier checks of raw files, so that an unchanged file is not read again.

They are kept in SQLite beside DVC's cache, since indexes are deleted before their stage runs again. A file counts as
unchanged if its path, size and modification time are; losing these results costs only time. So whatever is wrong with
the memory (another process holds it, its folder cannot be written, its path is too long for SQLite), indexing goes on
without it.

A file that changed although its size and time did not shows where it is encoded, by its hash. Then its results are
dropped and it is noted as doubted, which changes its line in the listing of raw files, so that `dvc repro` indexes it.
"""

import contextlib
import hashlib
import logging
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.config.further import FURTHER
from pipeline.datasets.samples import Picture

log = logging.getLogger(__name__)

FILE = "known-images.sqlite"
_MIN_AGE = 2.0  # seconds; a file modified more recently may change again within the resolution of its time stamp
_VERSION = 2  # increase it when the check rejects other images than before
_PATIENCE = 10.0  # seconds for which another process is waited for
_TOGETHER = 2000  # rows written in one transaction
_RANGES = (None, *range(8, 17))
_FURTHER = {name: f"{one.called}-" for name, one in FURTHER.items()}  # before the check of such a sample
_CHECKS = (
    *((check, bits) for check in ("decode", "header") for bits in _RANGES),
    *((before + check, None) for before in _FURTHER.values() for check in ("decode", "header")),
)
_REPLACED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)  # other errors say nothing against the content
_BESIDE = ("", "-wal", "-shm", "-journal")  # the files of a database, by what is added to its name
_TABLES = (
    "images (place BLOB PRIMARY KEY, id BLOB, width INT, height INT, form TEXT) WITHOUT ROWID",
    "doubted (path BLOB PRIMARY KEY, times INT) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class Checked:
    """The result of checking an image: its id, width and height, and its format.

    Of a sound: its id, frames and sample rate, and its format and number of channels (`flac/2`). Of other samples two
    numbers and a text that their reader understands.
    """

    identity: str
    size: tuple[int, int]
    form: str


class KnownImages:
    """The images and sounds that passed the check before, by place; a context manager."""

    def __init__(self, folder: Path | None, check: str = "decode", bits: int | None = None) -> None:
        """Open the results in `folder`, of this kind of `check` with these `bits` only; None keeps nothing."""
        self._check = (check, bits)
        self._path = None if folder is None else folder / FILE
        self._database: sqlite3.Connection | None = None
        self._stats: tuple[Path, tuple[int, int] | None] | None = None
        self._waiting: list[tuple[bytes, bytes, int, int, str]] = []
        self._empty = True  # if so, no look-ups are needed

    def __enter__(self) -> Self:
        if self._path is None:
            return self
        try:
            self._database = _opened_or_replaced(self._path)
            self._empty = not self._database.execute("SELECT EXISTS (SELECT 1 FROM images)").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()
        self._close()

    def place(self, picture: Picture, modality: str = "") -> bytes | None:
        """A key of the file of a picture, or of a sample of a further modality: size, modification time and range.

        None if it was modified just now.
        """
        if self._database is None or picture.path is None:
            return None
        if self._stats is None or self._stats[0] != picture.path:
            self._stats = (picture.path, _unchanging_stat(picture.path))
        stats = self._stats[1]
        check = (_FURTHER[modality] + self._check[0], None) if modality else self._check
        return None if stats is None else _place(check, picture.path, stats, picture.offset, picture.length)

    def get(self, place: bytes | None) -> Checked | None:
        """The result stored for that place."""
        if place is None or self._database is None or self._empty:
            return None
        try:
            row = self._database.execute("SELECT id, width, height, form FROM images WHERE place = ?", (place,))
            result = row.fetchone()
        except sqlite3.Error as error:
            self._give_up(error)
            return None
        return None if result is None else Checked(result[0].hex(), (result[1], result[2]), result[3])

    def put(self, place: bytes | None, checked: Checked) -> None:
        """Store the result for that place."""
        if place is None or self._database is None:
            return
        self._waiting.append((place, bytes.fromhex(checked.identity), *checked.size, checked.form))
        if len(self._waiting) >= _TOGETHER:
            self._write()

    def _write(self) -> None:
        if self._database is not None and self._waiting:
            try:
                self._database.executemany("INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?)", self._waiting)
                self._database.commit()
            except sqlite3.Error as error:
                self._give_up(error)
        self._waiting = []

    def _give_up(self, error: Exception) -> None:
        """Go on without the memory: an error that waited for its lock would be waited for again at every picture."""
        log.warning("%s is not used (%s); images are read, and will be read again in the next run", self._path, error)
        self._close()

    def _close(self) -> None:
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None


def doubt(folder: Path, path: Path, offset: int, length: int) -> None:
    """Forget the results for a file whose content is not what its size and modification time promised.

    Args:
        folder: where the results are kept.
        path, offset, length: of the picture, as images.parquet has them.
    """
    stats = _unchanging_stat(path, 0.0)
    places = [] if stats is None else [(_place(check, path, stats, offset, length),) for check in _CHECKS]
    try:
        with contextlib.closing(_opened_or_replaced(folder / FILE)) as database:
            database.executemany("DELETE FROM images WHERE place = ?", places)
            database.execute(
                "INSERT INTO doubted VALUES (?, 1) ON CONFLICT (path) DO UPDATE SET times = times + 1",
                (os.fsencode(path),),
            )
            database.commit()
    except (OSError, sqlite3.Error) as error:
        log.warning("%s: that %s has changed cannot be noted (%s)", folder / FILE, path, error)


def doubted(folder: Path) -> dict[str, int]:
    """How often `doubt` was called for a file, by its path; those that never were are left out."""
    if not (folder / FILE).is_file():
        return {}
    try:
        with contextlib.closing(_opened(folder / FILE)) as database:
            return {os.fsdecode(path): times for path, times in database.execute("SELECT path, times FROM doubted")}
    except (OSError, sqlite3.Error) as error:
        log.warning("%s cannot be read (%s); which files changed unnoticed is not known", folder / FILE, error)
        return {}


def _place(check: tuple[str, int | None], path: Path, stats: tuple[int, int], offset: int, length: int) -> bytes:
    kind = [str(part) for part in check if part is not None]
    written = "\0".join(map(str, (_VERSION, *kind, path, *stats, offset, length)))
    return hashlib.blake2b(written.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _opened_or_replaced(path: Path) -> sqlite3.Connection:
    """The database at `path`; one whose content is damaged is replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _opened(path)
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) not in _REPLACED:
            raise
        log.warning("%s is damaged (%s) and is replaced; images are read again", path, error)
        for ending in _BESIDE:
            path.with_name(path.name + ending).unlink(missing_ok=True)
        return _opened(path)


def _opened(path: Path) -> sqlite3.Connection:
    for ending in _BESIDE:
        if path.with_name(path.name + ending).is_symlink():
            raise OSError(f"{path.name}{ending} is a link")
    database = sqlite3.connect(path, timeout=_PATIENCE)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        for table in _TABLES:
            database.execute(f"CREATE TABLE IF NOT EXISTS {table}")
    except sqlite3.Error:
        database.close()
        raise
    return database


def _unchanging_stat(path: Path, age: float = _MIN_AGE) -> tuple[int, int] | None:
    """Size and modification time in nanoseconds; None for a file that is missing or younger than `age` seconds."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # a path with a zero byte
        return None
    return None if time.time() - stat.st_mtime < age else (stat.st_size, stat.st_mtime_ns)
