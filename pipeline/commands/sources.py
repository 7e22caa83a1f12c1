"""What a folder, a table or tars hold, and the entry of `datasets` that reads it."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, SourceError

IMAGES = ("image", "file", "path", "filename", "file_name", "filepath", "image_path", "image_file", "img", "jpg")
CAPTIONS = ("caption", "captions", "text", "title", "description", "txt", "sentence", "alt")
OTHERS = ("language", "concept", "classname", "category", "split")
_LOOKED_AT = 2000  # rows of a table that are read, pictures of a folder that are counted one by one
_NEEDED = 60


@dataclass(frozen=True)
class Found:
    """What is there.

    Attributes:
        entry: of `datasets` in params.yaml.
        what: a sentence on it.
        samples: how many, as far as was looked.
        classes: whether its folders are classes, to be told apart by name.
        languages: of the captions, where a column says so.
        warnings: what to know before going on.
    """

    entry: dict[str, Any]
    what: str
    samples: int
    classes: bool = False
    languages: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)


def look(written: str) -> Found:
    """Say what is at a path, from names and the first rows; no picture is decoded.

    Raises:
        SourceError: nothing is there, or nothing that a data set can be made of; says what was looked for.
    """
    path = Path(written).expanduser()
    if "://" in written:
        raise SourceError(f"{written} is an address; fetch it first, then give the folder, table or tar.")
    if not path.exists():
        raise SourceError(f"No file or folder at {path} (looked from {Path.cwd()}).")
    path = path.resolve()
    found = _file(path) if path.is_file() else _folder(path)
    if found.samples < _NEEDED:
        found.warnings.append(
            f"{found.samples} samples are few: with fewer than {_NEEDED} the scores of held-out ones say nothing."
        )
    return found


def _file(path: Path) -> Found:
    from pipeline.datasets.table_rows import kind_of

    if path.suffix == ".tar":
        return _tars([path], str(path))
    if path.suffix in (".zip", ".tgz") or path.name.endswith(".tar.gz"):
        raise SourceError(f"{path} is packed; unpack it and give the folder.")
    kind_of(path)
    return _table(path)


def _folder(path: Path) -> Found:
    if (path / "state.json").is_file() and (path / "dataset_info.json").is_file():
        raise SourceError(
            f"{path} is what `save_to_disk` of the package datasets writes. Turn it into a table first: python -c "
            f"'from datasets import load_from_disk as l; l({str(path)!r}).to_parquet({str(path) + '.parquet'!r})'"
        )
    tars = sorted(path.glob("*.tar"))
    if tars:
        return _tars(tars, f"{path}/*.tar")
    tables = [one for one in sorted(path.iterdir()) if one.is_file() and _is_table(one)]
    usable = [one for one in tables if _columns(one) is not None]
    if usable:
        return _table(min(usable, key=lambda one: (one.name != "captions.csv", one.name)))
    pictures = list(islice(_pictures(path), 100 * _LOOKED_AT))
    if not pictures:
        seen = (
            f"; its tables lack a column of pictures or of captions: {', '.join(t.name for t in tables)}"
            if tables
            else ""
        )
        raise SourceError(f"{path} holds neither pictures nor tars nor a table of captions{seen}. Tried: {_TRIED}.")
    return _pictures_alone(path, pictures)


_TRIED = (
    f"*.tar, tables with a column of {', '.join(IMAGES[:5])}, ... and one of {', '.join(CAPTIONS[:4])}, ..., pictures"
)


def _pictures(path: Path) -> Iterator[Path]:
    from pipeline.datasets.plain_files import Inside
    from pipeline.datasets.raw_files import is_picture
    from pipeline.datasets.walk import walk

    ignored: Counter[str] = Counter()
    return (Path(entry.path) for entry in walk(path, Inside(path)) if is_picture(entry.name, ignored))


def _pictures_alone(path: Path, pictures: list[Path]) -> Found:
    looked = pictures[:_LOOKED_AT]
    beside = sum(picture.with_suffix(".txt").is_file() for picture in looked)
    entry: dict[str, Any] = {"source": "image-folder", "path": str(path)}
    if beside > len(looked) / 2:
        return Found(
            entry | {"captions": "beside", "labels": "none"},
            f"{len(pictures)} pictures with captions in .txt files beside them", len(pictures),
        )  # fmt: skip
    folders = Counter(picture.relative_to(path).parts[0] for picture in pictures if picture.parent != path)
    if sum(folders.values()) > len(pictures) / 2 and len(folders) > 1:
        names = ", ".join(list(folders)[:4])
        what = f"{len(pictures)} pictures in {len(folders)} folders, taken for classes: {names}, ..."
        return Found(entry, what, len(pictures), classes=True)
    raise SourceError(
        f"{path} holds {len(pictures)} pictures and no captions. Put captions.csv (file,caption) into it, or a.txt "
        "beside each a.jpg, or each picture into a folder named after its class."
    )


def _tars(tars: list[Path], pattern: str) -> Found:
    from pipeline.datasets.samples import Failure
    from pipeline.datasets.tar_samples import PICTURES, tar_samples

    left_out: Counter[str] = Counter()
    members: dict[str, None] = {}
    fields: list[str] = []
    for sample in islice(tar_samples(tars[0], left_out), 100):
        if not isinstance(sample, Failure):
            members |= dict.fromkeys(sample.members)
            fields = fields or _json_fields(sample)  # read here: behind the next sample its bytes are gone
    if not any(name.rpartition(".")[2] in PICTURES for name in members):
        raise SourceError(f"{tars[0]} has no pictures among its members ({', '.join(members) or 'none'}).")
    entry: dict[str, Any] = {"source": "webdataset", "path": pattern}
    what = f"{len(tars)} tars of a webdataset (members {', '.join(members)})"
    if "txt" in members:
        return Found(entry, f"{what}, captions in .txt", 100 * len(tars))
    named = next((name for name in CAPTIONS if name in fields), None)
    if named is None:
        raise SourceError(
            f"{tars[0]} has members {', '.join(members)} and fields {', '.join(fields) or '-'} of .json; none is "
            f"called {', '.join(CAPTIONS[:4])}. Name the caption by hand: docs/datasets.md, source webdataset."
        )
    return Found(entry | {"captions": [f"json.{named}"]}, f"{what}, captions in .json under {named!r}", 100 * len(tars))


def _json_fields(sample: Any) -> list[str]:
    try:
        content = json.loads(sample.members["json"].text())
    except (KeyError, ValueError, RecursionError, DataError):
        return []
    return list(content) if isinstance(content, dict) else []


def _is_table(path: Path) -> bool:
    from pipeline.datasets.table_rows import kind_of

    try:
        kind_of(path)
    except SourceError:
        return False
    return True


def _columns(path: Path) -> dict[str, str] | None:
    """Which column of a table means what; None where pictures or captions have none that is known."""
    from pipeline.datasets.table_rows import columns_of, rows_of

    header = columns_of(path)
    if header is None:
        header = list(dict.fromkeys(name for row in islice(rows_of(path, ()), 20) for name in row.values))
    lower = {name.strip().lower(): name for name in reversed(header)}
    image = next((lower[name] for name in IMAGES if name in lower), None)
    caption = next((lower[name] for name in CAPTIONS if name in lower), None)
    if image is None or caption is None:
        return None
    return {"image": image, "caption": caption} | {name: lower[name] for name in OTHERS if name in lower}


def _table(path: Path) -> Found:
    from pipeline.datasets.table_rows import columns_of, rows_of

    columns = _columns(path)
    if columns is None:
        raise SourceError(
            f"{path} has the columns {columns_of(path)}; none is known for pictures ({', '.join(IMAGES)}) or none for "
            f"captions ({', '.join(CAPTIONS)}). Name yours by hand: docs/datasets.md, source table."
        )
    rows = list(islice((row.values for row in rows_of(path, [*columns.values()]) if row.reason is None), _LOOKED_AT))
    languages = tuple(sorted({str(row[columns["language"]]) for row in rows if row.get(columns["language"])})
                      ) if "language" in columns else ()  # fmt: skip
    many = "at least " if len(rows) == _LOOKED_AT else ""
    what = f"a table of {many}{len(rows)} rows with {columns['image']} and {columns['caption']}: {path.name}"
    simple = {"file": "image"} | {name: name for name in ("caption", *OTHERS)}
    if path.suffix == ".csv" and columns["image"] == "file" and set(columns_of(path) or ()) <= set(simple):
        entry: dict[str, Any] = {"source": "folder", "path": str(path.parent)}
        entry |= {} if path.name == "captions.csv" else {"captions": path.name}
    else:
        entry = {"source": "table", "path": str(path), "columns": columns}
    found = Found(entry, what, len(rows), languages=languages)
    missing = _missing(path.parent, [row.get(columns["image"]) for row in rows])
    if missing:
        found.warnings.append(missing)
    return found


def _missing(folder: Path, images: list[Any]) -> str:
    """A word of warning where pictures that a table names are not there."""
    paths = [image for image in images if isinstance(image, str) and len(image) < 1000]
    gone = [image for image in paths if not (folder / Path(image)).is_file()]
    if not gone:
        return ""
    return (
        f"{len(gone)} of {len(paths)} pictures are not at their paths, the first {gone[0]!r}; relative paths start at "
        f"{folder}. If they lie elsewhere, add `images: FOLDER` to the data set."
    )
