"""The builder that every source feeds: it deduplicates by content and writes the tables of one index."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow.parquet as pq

from pipeline.config.further import FURTHER
from pipeline.datasets.archive import Archive
from pipeline.datasets.further_tables import FurtherTables
from pipeline.datasets.opened import opened_image
from pipeline.datasets.own_splits import settle_splits
from pipeline.datasets.samples import readable
from pipeline.datasets.spool import Digests, Spool, digest
from pipeline.datasets.tables import FAILURES, IMAGES, LABELS, PAIRS, TEXTS, image_id, text_id
from pipeline.files import write_json

ARCHIVE = "images.tar"
_SHOWN = 8  # failures kept for messages
_LONGEST = 1000  # characters of a key or reason; a cell of base64 may stand in place of a path


class IndexBuilder:
    """Collects images, texts, links and labels; rows keep the order in which they first came.

    Tables are written as they grow, so memory does not depend on their number. Use as a context manager: leaving it
    without `finish` removes unfinished files.

    Attributes:
        further: the same for each further modality, whose texts are those of this index.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        schemas = {"images": IMAGES, "texts": TEXTS, "pairs": PAIRS, "labels": LABELS, "failures": FAILURES}
        self._tables = {name: Spool(schema, folder / f"{name}.parquet") for name, schema in schemas.items()}
        self._concepts = Digests(folder / "concepts.keys")
        self._labelled = Digests(folder / "labelled.keys")
        self._splits = Digests(folder / "splits.keys")
        self._first_failures: list[str] = []
        self._archive = Archive(folder / ARCHIVE)
        self.further = {modality: FurtherTables(folder, self._concepts, modality) for modality in FURTHER}

    @property
    def sounds(self) -> FurtherTables:
        """Of `further` that of sounds."""
        return self.further["audio"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.discard()
        for tables in self.further.values():
            tables.discard()
        for digests in (self._concepts, self._labelled, self._splits):
            digests.close()
        for table in self._tables.values():
            table.discard()

    def add_image(self, content: bytes, key: str, mask: str | None = None) -> str:
        """Store encoded image bytes in the archive, once, and return their id.

        Raises:
            DataError: they are no image.
        """
        identity = image_id(content)
        if not self._archive.holds(identity):
            with opened_image(content) as image:
                size = image.size
            self.store(identity, content, size, key, mask)
        return identity

    def store(
        self, identity: str, content: bytes, size: tuple[int, int], key: str, mask: str | None = None, form: str = "png"
    ) -> None:
        """As `add_image`, for an image whose id, size and format are known."""
        if not self._archive.holds(identity):
            offset = self._archive.add(identity, content, form)
            self.refer(identity, ARCHIVE, size, key, offset, len(content), mask)

    def refer_to(
        self, path: Path, content: bytes, size: tuple[int, int], key: str, offset: int = 0, length: int = -1
    ) -> str:
        """Index an image file, or a byte range of an archive, in place.

        Args:
            content: the encoded image.
            size: its width and height.
            offset, length: its byte range in `path`; -1 reads to the end.
        """
        identity = image_id(content)
        self.refer(identity, str(path), size, key, offset, length)
        return identity

    def refer_to_windows(
        self, path: Path, content: bytes, key: str, boxes: Sequence[tuple[int, int, int, int]], side: int
    ) -> str:
        """Index windows of an image file in place, and return the id of the whole picture, which gets no row.

        The id of a window is a hash of the picture's id, the box and the side, which determine its pixels.

        Args:
            content: the encoded image.
            boxes: left, top, right, bottom of each window in pixels of the picture.
            side: to which windows are resized, in pixels.
        """
        identity = image_id(content)
        for box in boxes:
            window = image_id(f"{identity} {','.join(map(str, box))} {side}".encode())
            row = (window, "image", str(path), 0, -1, side, side, identity, list(box), None, key)
            self._tables["images"].add(bytes.fromhex(window), row)
        return identity

    def refer(
        self,
        identity: str,
        path: str,
        size: tuple[int, int],
        key: str,
        offset: int = 0,
        length: int = -1,
        mask: str | None = None,
    ) -> None:
        """As `refer_to`, for an image whose id is known; a relative path starts at the index folder."""
        row = (identity, "image", path, offset, length, *size, None, None, mask, key)
        self._tables["images"].add(bytes.fromhex(identity), row)

    def add_text(self, text: str, language: str, role: str = "caption") -> str:
        """Index a string and return its id."""
        identity = text_id(text)
        self._tables["texts"].add(digest(identity, language, role), (identity, "text", text, language, role))
        return identity

    def link(self, image: str, text: str, language: str, role: str = "caption") -> None:
        """State that the text describes the image."""
        row = (image, text, language, role)
        self._tables["pairs"].add(digest(*row), row)

    def label(
        self,
        image: str,
        concept: str,
        classname: str | None = None,
        category: str | None = None,
        keywords: Sequence[str] = (),
        split: str | None = None,
    ) -> None:
        """Record what the image shows. An image that shows two concepts has two rows; the first is the main one.

        Of an image that is named in several splits `finish` keeps one of them, see `settle_splits`.
        """
        row = (image, concept, classname, category, list(keywords), split)
        self._tables["labels"].add(digest(image, concept, split or ""), row)
        self._concepts.append([digest(concept)])
        self._labelled.append([digest(image)])
        self._splits.append([digest(image, split or "")])

    def fail(self, key: str, reason: str) -> None:
        """Record what could not be indexed, and why; both are made valid UTF-8 of at most `_LONGEST` characters."""
        key, reason = (_short(readable(text)) for text in (key, reason))
        failures = self._tables["failures"]
        failures.add(hashlib.blake2b(len(failures).to_bytes(8, "big"), digest_size=16).digest(), (key, reason))
        if len(self._first_failures) < _SHOWN:
            self._first_failures.append(f"{key}: {reason}")

    def first_failures(self, number: int = 3) -> str:
        """The first failures, for an error message."""
        return "; ".join(self._first_failures[:number])

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each table so far; exact once they are finished, see `Spool`."""
        return {name: len(table) for name, table in self._tables.items() if name != "labels"}

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Write every table, archives that are not empty, and about.json; returns the content of about.json.

        Raises:
            DataError: an archive is smaller than its offsets imply.
        """
        self._archive.finish()
        rows = {name: table.finish() for name, table in self._tables.items() if name != "failures"}
        if self._splits.first().sum() > self._labelled.first().sum():
            for key, reason in settle_splits(self._folder):
                self.fail(key, reason)
        for tables in self.further.values():
            for key, reason in tables.finish():
                self.fail(key, reason)
        rows["failures"] = self._tables["failures"].finish()
        counts = {
            "images": rows["images"],
            **{name: rows for tables in self.further.values() for name, rows in tables.counts.items()},
            "texts": rows["texts"],
            "pairs": rows["pairs"],
            "concepts": int(self._concepts.first().sum()),
            "failures": rows["failures"],
        }
        languages = _counted(self._folder / "texts.parquet", "language")
        about = {
            "available": True,
            "reason": None,
            **_readable(about),
            "counts": counts,
            "texts_per_language": languages,
        }
        write_json(about, self._folder / "about.json")
        return about


def _readable(value: Any) -> Any:
    """The value with every text in it as valid UTF-8; JSON would refuse it otherwise, after all the work."""
    if isinstance(value, dict):
        return {_readable(key): _readable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_readable(inner) for inner in value]
    return readable(value) if isinstance(value, str) else value


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _counted(path: Path, column: str) -> dict[str, int]:
    """How many rows have each value of a column, in the order of first occurrence."""
    counts: dict[str, int] = {}
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=[column]):
            for entry in batch.column(0).value_counts().to_pylist():
                counts[entry["values"]] = counts.get(entry["values"], 0) + entry["counts"]
    return counts
