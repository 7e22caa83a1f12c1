"""Your own tables: a row is a picture, by path or by bytes, with its captions and labels in the other columns."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import Columns, FolderSource, TableSource
from pipeline.datasets.concepts import concept_key
from pipeline.datasets.raw_files import located, matching, shown
from pipeline.datasets.samples import SPLITS, Caption, Failure, Label, Picture, Sample, Source, split_named
from pipeline.datasets.table_rows import columns_of, rows_of
from pipeline.datasets.webdataset import texts_in
from pipeline.errors import DataError, SourceError

_FOLDER_COLUMNS = ("file", "caption", "language", "concept", "classname", "category", "split")
_URL = ("http://", "https://", "s3://", "gs://")


def folder_with_table(spec: FolderSource) -> Source:
    """A folder of pictures with captions.csv, whose columns have fixed names: the shortest way to use your own data.

    A row without `concept` is its own concept (its image id); several rows may name the same file to give it several
    captions.

    Raises:
        SourceError: folder or table is missing, or a column is missing or unknown.
    """
    folder = located(spec.path)
    path = folder / spec.captions
    expected = f"file,caption and optionally {','.join(_FOLDER_COLUMNS[2:])}"
    if not path.is_file():
        raise SourceError(
            f"No caption table at {path}. It is a CSV with the columns {expected}; see `path` and `captions` of this "
            "data set in params.yaml."
        )
    header = columns_of(path)
    if header is not None and (not {"file", "caption"} <= set(header) or set(header) - set(_FOLDER_COLUMNS)):
        raise SourceError(f"{path} has the columns {header}; expected {expected}.")
    columns = Columns(image="file", **{name: name for name in _FOLDER_COLUMNS[1:] if header is None or name in header})
    reader = _Reader(folder, columns, "en", None)
    about = {"path": str(folder), "captions": spec.captions, "packages": {}}
    return Source(str(path), reader.samples([path]), about)


def table(spec: TableSource) -> Source:
    """The rows of one or many tables, in order.

    Raises:
        SourceError: a table is missing, of an unknown kind, or lacks a column.
    """
    files = matching(spec.path)
    for file in files:
        require_columns(str(file), columns_of(file), spec.columns)
    root = None if spec.images is None else located(spec.images)
    reader = _Reader(root, spec.columns, spec.language, spec.split)
    return Source(shown(spec.path), reader.samples(files), {"tables": len(files), "packages": {}})


def named_columns(columns: Columns) -> dict[str, tuple[str, ...]]:
    """Meaning -> the columns of the table that have it."""
    written = {name: getattr(columns, name) for name in Columns.model_fields}
    return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in written.items() if value}


def require_columns(where: str, header: Sequence[str] | None, columns: Columns) -> None:
    """Check that a table has the columns that params.yaml names.

    Raises:
        SourceError: it lacks some; the message lists both.
    """
    missing = {name for names in named_columns(columns).values() for name in names} - set(header or ())
    if header is not None and missing:
        raise SourceError(
            f"{where} lacks the columns {sorted(missing)}; it has {list(header)}. Name yours under `columns` of this "
            "data set in params.yaml, for example columns: {image: path, caption: title}; null if there is none."
        )


class _Reader:
    def __init__(self, root: Path | None, columns: Columns, language: str, split: str | None) -> None:
        self._root, self._columns = root, named_columns(columns)
        self._language, self._split = language, split

    def samples(self, files: Sequence[Path]) -> Iterator[Sample | Failure]:
        wanted = list(dict.fromkeys(name for names in self._columns.values() for name in names))
        for file in files:
            prefix = f"{file.name}, " if len(files) > 1 else ""
            try:
                for row in rows_of(file, wanted):
                    place = prefix + row.place
                    if row.reason is not None:
                        yield Failure(place, row.reason)
                    else:
                        yield sample_of(
                            row.values, self._columns, place, self._root or file.parent, self._language, self._split
                        )
            except SourceError as error:
                yield Failure(file.name, str(error))


def sample_of(
    values: Mapping[str, Any],
    columns: Mapping[str, Sequence[str]],
    place: str,
    root: Path,
    language: str,
    split: str | None,
) -> Sample | Failure:
    """One row as a sample.

    Args:
        values: by column.
        columns: by meaning, as from `named_columns`.
        place: where the row comes from.
        root: where relative paths start.
        language, split: of rows that do not name their own.
    """
    fields = {name: _text(values.get(of[0])) for name, of in columns.items() if name not in ("image", "caption")}
    written = values.get(columns["image"][0])
    shown = fields.get("key") or _name(written)
    place = f"{place}: {shown}" if shown else place
    try:
        picture = picture_of(written, root)
        texts = [text for name in columns.get("caption", ()) for text in texts_in(values.get(name))]
        if fields.get("split") and split_named(fields["split"]) is None:
            raise DataError(f"split is {fields['split']!r}; it may be {', '.join(SPLITS)} or empty")
    except DataError as error:
        return Failure(place, str(error))
    concept, classname, category = (fields.get(name, "") for name in ("concept", "classname", "category"))
    label = Label(concept_key(concept) if concept else None, classname or concept or None, category.lower() or None)
    captions = [Caption(text, fields.get("language") or language) for text in texts]
    named = classname or concept
    if not texts and "caption" not in columns and named:
        captions = [Caption(named, fields.get("language") or language)]
    return Sample(
        shown or place,
        picture,
        captions,
        [label] if concept or classname or category else [],
        split_named(fields.get("split", "")) or split,
        place=place,
    )


def picture_of(written: Any, root: Path) -> Picture:
    """The picture that a cell names: a path, bytes, or both as Hugging Face `datasets` stores them.

    Raises:
        DataError: it does not name one.
    """
    if isinstance(written, dict):
        written = written.get("bytes") or written.get("path")
    if isinstance(written, bytes):
        content = written
        return Picture(None, fetch=lambda: content)
    if not isinstance(written, str | None):
        raise DataError(f"expected the path or the bytes of a picture, found a {type(written).__name__}")
    if not written or not written.strip():
        raise DataError("no file named")
    if written.lower().startswith(_URL):
        raise DataError("an address, not a file; download the pictures first, for example with img2dataset")
    if "\0" in written:
        raise DataError("not a path: it holds a zero byte")
    return Picture(root / written.strip())


def _name(written: Any) -> str:
    if isinstance(written, dict):
        written = written.get("path")
    return written.strip() if isinstance(written, str) else ""


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()
