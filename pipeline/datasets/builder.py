"""The builder that every source feeds: it deduplicates by content and writes the tables of one index."""

import io
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
from PIL import Image

from pipeline.datasets.tables import FAILURES, IMAGES, LABELS, PAIRS, TEXTS, image_id, text_id, write_table
from pipeline.errors import DataError
from pipeline.files import write_json

ARCHIVE = "images.tar"
_HEADER = 512  # bytes before a member's data in a POSIX tar; names stay far below the 100 bytes it holds


class IndexBuilder:
    """Collects images, texts, links and labels; rows keep the order in which they first came.

    Use as a context manager: leaving it without `finish` leaves no archive behind.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._images: dict[str, dict[str, Any]] = {}
        self._texts: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._pairs: dict[tuple[str, str, str, str], None] = {}
        self._labels: dict[tuple[str, str], dict[str, Any]] = {}
        self._failures: list[dict[str, str]] = []
        self._partial = folder / (ARCHIVE + ".partial")
        self._archive: tarfile.TarFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._archive is not None:
            self._archive.close()
        self._partial.unlink(missing_ok=True)

    def add_image(self, content: bytes, key: str, mask: str | None = None) -> str:
        """Store encoded image bytes in the archive, once, and give their id."""
        identity = image_id(content)
        if identity not in self._images:
            if self._archive is None:
                self._archive = tarfile.open(self._partial, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
            start = self._archive.offset
            member = tarfile.TarInfo(f"{identity}.png")  # mtime, uid and gid are 0 by default
            member.size = len(content)
            self._archive.addfile(member, io.BytesIO(content))
            with Image.open(io.BytesIO(content)) as image:
                size = image.size
            self._record(identity, ARCHIVE, start + _HEADER, len(content), size, mask, key)
        return identity

    def refer_to(
        self, path: Path, content: bytes, size: tuple[int, int], key: str, offset: int = 0, length: int = -1
    ) -> str:
        """Index an image file, or a range of bytes of an archive, where it lies.

        Args:
            content: the encoded image.
            size: its width and height.
            offset, length: where it lies in `path`; -1 reads to the end.
        """
        identity = image_id(content)
        if identity not in self._images:
            self._record(identity, str(path), offset, length, size, None, key)
        return identity

    def refer_to_windows(
        self, path: Path, content: bytes, key: str, boxes: Sequence[tuple[int, int, int, int]], side: int
    ) -> str:
        """Index windows of an image file where it lies, and give the id of the whole, which is no row itself.

        The id of a window is a hash of the picture's id, the box and the side, which decide its pixels.

        Args:
            content: the encoded image.
            boxes: left, top, right, bottom of each window in pixels of the picture.
            side: to which windows are resized, in pixels.
        """
        identity = image_id(content)
        for box in boxes:
            window = image_id(f"{identity} {','.join(map(str, box))} {side}".encode())
            self._record(window, str(path), 0, -1, (side, side), None, key)
            self._images[window] |= {"parent_id": identity, "box": list(box)}
        return identity

    def add_text(self, text: str, language: str, role: str = "caption") -> str:
        """Index a string and give its id."""
        identity = text_id(text)
        row = {"text_id": identity, "modality": "text", "text": text, "language": language, "role": role}
        self._texts.setdefault((identity, language, role), row)
        return identity

    def link(self, image: str, text: str, language: str, role: str = "caption") -> None:
        """State that the text describes the image."""
        self._pairs.setdefault((image, text, language, role))

    def label(
        self,
        image: str,
        concept: str,
        classname: str | None = None,
        category: str | None = None,
        keywords: Sequence[str] = (),
        split: str | None = None,
    ) -> None:
        """Name what the image shows. An image that shows two concepts has two rows, the first one leads."""
        row = {
            "image_id": image,
            "concept": concept,
            "classname": classname,
            "category": category,
            "keywords": list(keywords),
            "split": split,
        }
        self._labels.setdefault((image, concept), row)

    def fail(self, key: str, reason: str) -> None:
        """Record what could not be indexed, and why."""
        self._failures.append({"key": key, "reason": reason})

    def first_failures(self, number: int = 3) -> str:
        """The first failures in words, for an error message."""
        return "; ".join(f"{failure['key']}: {failure['reason']}" for failure in self._failures[:number])

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each table so far."""
        return {
            "images": len(self._images),
            "texts": len(self._texts),
            "pairs": len(self._pairs),
            "concepts": len({concept for _, concept in self._labels}),
            "failures": len(self._failures),
        }

    def finish(self, about: dict[str, Any]) -> dict[str, Any]:
        """Write every table, the archive if it holds anything, and about.json; gives what about.json says.

        Raises:
            DataError: the archive has not the size that its offsets imply.
        """
        if self._archive is not None:
            self._archive.close()
            self._archive = None
            if any(row["offset"] + row["length"] > self._partial.stat().st_size for row in self._images.values()):
                raise DataError(f"{self._partial} is shorter than its index says. Is the disk full?")
            os.replace(self._partial, self._folder / ARCHIVE)
        columns = ("image_id", "text_id", "language", "role")
        tables: dict[str, tuple[pa.Schema, Iterable[dict[str, Any]]]] = {
            "images": (IMAGES, self._images.values()),
            "texts": (TEXTS, self._texts.values()),
            "pairs": (PAIRS, (dict(zip(columns, pair, strict=True)) for pair in self._pairs)),
            "labels": (LABELS, self._labels.values()),
            "failures": (FAILURES, self._failures),
        }
        for name, (schema, rows) in tables.items():
            write_table(pa.Table.from_pylist(list(rows), schema=schema), self._folder / f"{name}.parquet")
        languages: dict[str, int] = {}
        for _, language, _ in self._texts:
            languages[language] = languages.get(language, 0) + 1
        about = {"available": True, "reason": None, **about, "counts": self.counts, "texts_per_language": languages}
        write_json(about, self._folder / "about.json")
        return about

    def _record(
        self, identity: str, path: str, offset: int, length: int, size: tuple[int, int], mask: str | None, key: str
    ) -> None:
        self._images[identity] = {
            "image_id": identity,
            "modality": "image",
            "path": path,
            "offset": offset,
            "length": length,
            "width": size[0],
            "height": size[1],
            "mask": mask,
            "key": key,
        }
