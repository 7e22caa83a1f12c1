"""A folder of pictures with a table of captions: the way to bring one's own data."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.config.schema import FolderSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.concepts import concept_key
from pipeline.datasets.decode import decode_rgb
from pipeline.errors import DataError, SourceError

_COLUMNS = ("file", "caption", "language", "concept", "classname", "category", "split")
_SPLITS = ("train", "validation", "test")


def index_folder_of_pictures(spec: FolderSource, builder: IndexBuilder) -> dict[str, Any]:
    """Feed every good row of the table; a bad one becomes a failure with its line number and reason.

    Pictures are indexed where they lie. A row without `concept` is a concept of its own (its image id); several rows
    may name the same file to give it several captions.

    Raises:
        SourceError: folder or table is missing, a column is missing or unknown, or no row is good.
    """
    folder = Path(spec.path).expanduser().resolve()
    table = folder / spec.captions
    images: dict[str, tuple[str, str | None]] = {}  # file -> image id, or the reason why there is none
    seen = 0
    for line, row in tqdm(_rows(table, spec.limit), desc=folder.name, unit="row", mininterval=1):
        seen += 1
        file = row["file"]
        try:
            if not file:
                raise DataError("no file named")
            if not row["caption"]:
                raise DataError("empty caption")
            if row["split"] and row["split"] not in _SPLITS:
                raise DataError(f"split is {row['split']!r}; it may be {', '.join(_SPLITS)} or empty")
            if file not in images:
                images[file] = _index(folder / file, file, builder)
        except DataError as error:
            builder.fail(f"line {line}: {file}", str(error))
            continue
        image, reason = images[file]
        if reason is not None:
            builder.fail(f"line {line}: {file}", reason)
            continue
        language = row["language"] or "en"
        builder.link(image, builder.add_text(row["caption"], language), language)
        concept = row["concept"]
        builder.label(
            image,
            concept_key(concept) if concept else image,
            row["classname"] or concept or None,
            row["category"].lower() or None,
            split=row["split"] or None,
        )
    if not builder.counts["images"]:
        raise SourceError(f"{table}: none of {seen} rows could be indexed. First reasons: {builder.first_failures()}")
    return {"path": str(folder), "captions": spec.captions, "packages": {}}


def _rows(table: Path, limit: int) -> Iterator[tuple[int, dict[str, str]]]:
    """(line number, row) of the table; every known column is there and stripped, missing ones are ''."""
    try:
        file = open(table, encoding="utf-8-sig", newline="")  # noqa: SIM115 (closed below, opened here for the error)
    except OSError as error:
        raise SourceError(
            f"No caption table at {table}. It is a CSV with the columns file,caption and optionally "
            f"{','.join(_COLUMNS[2:])}; see `path` and `captions` of this data set in params.yaml."
        ) from error
    with file:
        reader = csv.DictReader(file)
        try:
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            missing = {"file", "caption"} - set(header)
            unknown = [name for name in header if name not in _COLUMNS]
            if missing or unknown:
                raise SourceError(
                    f"{table} has the columns {header}; expected file,caption and optionally {','.join(_COLUMNS[2:])}."
                )
            for number, row in enumerate(reader):
                if limit and number >= limit:
                    return
                yield reader.line_num, {name: (row.get(name) or "").strip() for name in _COLUMNS}
        except (UnicodeDecodeError, csv.Error) as error:
            raise SourceError(f"{table}, after line {reader.line_num}, is no UTF-8 CSV: {error}") from error


def _index(path: Path, key: str, builder: IndexBuilder) -> tuple[str, str | None]:
    if not path.is_file():
        return "", "no such file"
    try:
        content = path.read_bytes()
        picture = decode_rgb(content)
    except (DataError, OSError) as error:
        return "", str(error)
    return builder.refer_to(path, content, picture.size, key), None
