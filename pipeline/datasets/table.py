"""Your own tables: a row is a picture or a sound, by path or by bytes, with captions and labels in other columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.config import Columns, FolderSource, TableSource
from pipeline.config.further import FURTHER
from pipeline.datasets.cells import captions_of, is_null, label_of, labels_of, picture_in_base64, shortened
from pipeline.datasets.concepts import CasedConcepts, concept_key
from pipeline.datasets.plain_files import Inside
from pipeline.datasets.raw_files import located, matching, shown
from pipeline.datasets.samples import (
    MAX_NAME,
    SPLITS,
    Caption,
    Failure,
    Label,
    Picture,
    Sample,
    Source,
    fields_in,
    split_named,
)
from pipeline.datasets.table_rows import columns_of, rows_of
from pipeline.errors import DataError, SourceError

_MEDIA = {"file": "image"} | {name: name for name in FURTHER}  # column of captions.csv -> its meaning
_FOLDER_COLUMNS = (*_MEDIA, "caption", "language", "concept", "classname", "category", "split")
_URL = ("http://", "https://", "s3://", "gs://")
_TELLING = ("caption", "concept", "classname", "category")


def folder_with_table(spec: FolderSource) -> Source:
    """A folder of pictures with captions.csv, whose columns have fixed names: the shortest way to use your own data.

    A row without `concept` is its own concept (its image id); several rows may name the same file to give it several
    captions. A column `audio` names sounds, in place of pictures or beside them, and so do those of other further
    modalities, one of them in a table.

    Raises:
        SourceError: folder or table is missing, or a column is missing or unknown.
    """
    folder = located(spec.path)
    path = folder / spec.captions
    expected = f"file,caption (audio,caption for sounds) and optionally {','.join(_FOLDER_COLUMNS[len(_MEDIA) + 1 :])}"
    if not folder.is_dir():
        raise SourceError(f"No folder at {folder}. See `path` of this data set in params.yaml.")
    if not path.is_file():
        raise SourceError(
            f"No caption table at {path}. It is a CSV with the columns {expected}; see `path` and `captions` of this "
            "data set in params.yaml."
        )
    inside = Inside(folder, links=spec.links, elsewhere=True)
    if reason := inside.wrong_with(path):
        raise SourceError(f"{path} is not read: {reason}.")
    header = columns_of(path)
    if header is not None and not _has_folder_columns(set(header)):
        raise SourceError(f"{path} has the columns {header}; expected {expected}.")
    there = (
        ["file", *_FOLDER_COLUMNS[len(_MEDIA) :]]
        if header is None
        else [name for name in _FOLDER_COLUMNS if name in header]
    )
    columns = {_MEDIA.get(name, name): (name,) for name in there}
    if len(several := [name for name in columns if name in FURTHER]) > 1:
        raise SourceError(f"{path} has the columns {' and '.join(several)}; a table has one of these beside pictures.")
    require_columns(str(path), header, columns)
    reader = _Reader(folder, columns, "en", None)
    about = {"path": str(folder), "captions": spec.captions, "packages": {}}
    return Source(str(path), reader.samples([path]), about, inside=inside, unit="rows")


def _has_folder_columns(header: set[str]) -> bool:
    return "caption" in header and bool(header & _MEDIA.keys()) and header <= set(_FOLDER_COLUMNS)


def table(spec: TableSource) -> Source:
    """The rows of one or many tables, in order.

    Raises:
        SourceError: a table is missing, of an unknown kind, or lacks a column.
    """
    refused: list[Failure] = []
    files = matching(spec.path, spec.links, refused)
    for file in files:
        require_columns(str(file), columns_of(file), named_columns(spec.columns))
    root = None if spec.images is None else located(spec.images)
    reader = _Reader(root, named_columns(spec.columns), spec.language, spec.split)
    inside = Inside(*([root] if root else (file.parent for file in files)), links=spec.links, elsewhere=True)
    samples = chain(refused, reader.samples(files))
    return Source(shown(spec.path), samples, {"tables": len(files), "packages": {}}, inside=inside, unit="rows")


def named_columns(columns: Columns) -> dict[str, tuple[str, ...]]:
    """Meaning -> the columns of the table that have it."""
    written = {name: getattr(columns, name) for name in Columns.model_fields}
    return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in written.items() if value}


def require_columns(where: str, header: list[str] | None, columns: Mapping[str, Sequence[str]]) -> None:
    """Check that a table has the columns that params.yaml names, each once.

    Raises:
        SourceError: it lacks some, and the message lists both; or it has one twice.
    """
    if header is None:
        return
    used = {name for names in columns.values() for name in names}
    if repeated := sorted(name for name in used if header.count(name) > 1):
        raise SourceError(f"{where} has several columns {', '.join(repeated)}. Rename all but one; it has {header}.")
    if missing := used - set(header):
        raise SourceError(
            f"{where} lacks the columns {sorted(missing)}; it has {header}. Name yours under `columns` of this "
            "data set in params.yaml, for example columns: {image: path, caption: title}; null if there is none."
        )


class _Reader:
    def __init__(
        self, root: Path | None, columns: Mapping[str, Sequence[str]], language: str, split: str | None
    ) -> None:
        self._root, self._columns = root, columns
        self._language, self._split = language, split

    def samples(self, files: Sequence[Path]) -> Iterator[Sample | Failure]:
        wanted = list(dict.fromkeys(name for names in self._columns.values() for name in names))
        concept = CasedConcepts(self._concepts(files)).key
        for file in files:
            prefix = f"{file.name}, " if len(files) > 1 else ""
            try:
                for row in rows_of(file, wanted):
                    place = prefix + row.place
                    if row.reason is not None:
                        yield Failure(place, row.reason)
                    else:
                        yield sample_of(
                            row.values,
                            self._columns,
                            place,
                            self._root or file.parent,
                            self._language,
                            self._split,
                            concept,
                        )
            except SourceError as error:
                yield Failure(file.name, str(error))

    def _concepts(self, files: Sequence[Path]) -> Iterator[str]:
        """All concepts that are named, in a pass over the column alone; what is wrong with a row is said later."""
        for file in files if "concept" in self._columns else ():
            with suppress(SourceError):
                for row in rows_of(file, self._columns["concept"]):
                    with suppress(DataError):
                        yield from labels_of(row.values.get(self._columns["concept"][0]), "concept")


def sample_of(
    values: Mapping[str, Any],
    columns: Mapping[str, Sequence[str]],
    place: str,
    root: Path,
    language: str,
    split: str | None,
    concept: Callable[[str], str] = concept_key,
) -> Sample | Failure:
    """One row as a sample.

    Args:
        values: by column.
        columns: by meaning, as from `named_columns`.
        place: where the row comes from.
        root: where relative paths start.
        language, split: of rows that do not name their own.
        concept: the key of a name of a concept.
    """
    cells = {name: values.get(of[0]) for name, of in columns.items()}
    modality = next((name for name in columns if name in FURTHER), "audio")
    key, written, beside = cells.get("key"), cells.get("image"), cells.get(modality)
    shown = _name(written) or _name(beside) if is_null(key) or key == "" else str(key).strip()
    place = f"{place}: {shown}" if shown else place
    texts: list[str] = []
    problems: list[str] = []
    try:
        picture = picture_of(written, root) if "image" in columns else None
        further = picture_of(beside, root, FURTHER[modality].called) if modality in columns else None
        for name in columns.get("caption", ()):
            good, wrong = captions_of(values.get(name))
            texts += good
            problems += wrong
        split_cell, code = (label_of(cells.get(name), name) for name in ("split", "language"))
        if split_cell and split_named(split_cell) is None:
            raise DataError(f"split is {shortened(split_cell)!r}; it may be {', '.join(SPLITS)} or empty")
        labels = _labels(cells, concept)
        if problems and not texts and not labels:
            raise DataError("; ".join(problems))
    except DataError as error:
        return Failure(place, str(error))
    if "caption" not in columns:
        texts = [label.classname for label in labels if label.classname]
    captions = [Caption(text, code or language) for text in texts]
    own_split = split_named(split_cell) or split
    wanted = ", ".join(column for name in _TELLING for column in columns.get(name, ()))
    lacks = "" if texts or labels else f"looked for {wanted}{fields_in(values)}"
    told: dict[str, Any] = {"place": place, "lacks": lacks, "further": further, "modality": modality}
    return Sample(shown or place, picture, captions, labels, own_split, problems, **told)


def _labels(cells: Mapping[str, Any], concept: Callable[[str], str]) -> list[Label]:
    """The labels of a row: one, or several where `concept` or `classname` is a list."""
    concepts, names = (labels_of(cells.get(name), name) for name in ("concept", "classname"))
    category = label_of(cells.get("category"), "category").lower() or None
    if concepts and names and len(concepts) != len(names):
        raise DataError(f"{len(concepts)} concepts, but {len(names)} class names")
    if len(names) > 1 and not concepts:
        concepts = names  # or all of them would be the picture itself
    if not concepts:
        name = names[0] if names else None
        return [Label(None, name, category)] if name or category else []
    return [Label(concept(c), name, category) for c, name in zip(concepts, names or concepts, strict=True)]


def picture_of(written: Any, root: Path, called: str = "picture") -> Picture:
    """The picture that a cell names: a path, bytes, base64, or path and bytes as Hugging Face `datasets` stores them.

    With `called: sound` a sound, which is not written as base64.

    Raises:
        DataError: it does not name one.
    """
    if isinstance(written, dict):
        written = written.get("bytes") or written.get("path")
    if isinstance(written, str) and called == "picture" and (decoded := picture_in_base64(written)):
        written = decoded
    if isinstance(written, bytes):
        content = written
        return Picture(None, fetch=lambda: content)
    if not isinstance(written, str | None):
        raise DataError(f"expected the path or the bytes of a {called}, found a {type(written).__name__}")
    if not written or not written.strip():
        raise DataError("no file named")
    if len(written) > MAX_NAME:
        raise DataError(f"a text of {len(written)} characters, not a path: {written[:40]}...")
    if written.lower().startswith(_URL):
        tool = ", for example with img2dataset" if called == "picture" else ""
        raise DataError(f"an address, not a file; download the {called}s first{tool}")
    if "\0" in written:
        raise DataError("not a path: it holds a zero byte")
    return Picture(root / written.strip())


def _name(written: Any) -> str:
    if isinstance(written, dict):
        written = written.get("path")
    named = isinstance(written, str) and len(written) <= MAX_NAME and not picture_in_base64(written)
    return written.strip() if named else ""
