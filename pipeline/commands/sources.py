"""What a folder, a table or tars hold, and the entry of `datasets` that reads it."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, SourceError

IMAGES = ("image", "file", "path", "filename", "file_name", "filepath", "image_path", "image_file", "img", "jpg")
SOUND_COLUMNS = ("audio", "sound", "recording", "audio_path", "audio_file", "audio_filepath", "wav", "mp3", "flac")
CAPTIONS = (
    "caption",
    "captions",
    "text",
    "title",
    "description",
    "txt",
    "sentence",
    "alt",
    "transcription",
    "transcript",
)
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
        media: what of pictures and sounds it has, in this order.
        beside: the sounds of a folder of pictures, a data set of their own.
    """

    entry: dict[str, Any]
    what: str
    samples: int
    classes: bool = False
    languages: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    media: tuple[str, ...] = ("image",)
    beside: "Found | None" = None


def look(written: str) -> Found:
    """Say what is at a path, from names and the first rows; nothing is decoded.

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
    there = {medium: list(islice(_files(path, medium), 100 * _LOOKED_AT)) for medium in _MEDIA}
    if not any(there.values()):
        seen = (
            f"; its tables lack a column of pictures or sounds, or of captions: {', '.join(t.name for t in tables)}"
            if tables
            else ""
        )
        raise SourceError(
            f"{path} holds neither pictures nor sounds nor tars nor a table of captions{seen}. Tried: {_TRIED}."
            + _unread(path)
        )
    return _media_alone(path, {medium: files for medium, files in there.items() if files})


_TRIED = (
    f"*.tar, tables with a column of {', '.join(IMAGES[:5])}, ... or {', '.join(SOUND_COLUMNS[:3])}, ... and one of "
    f"{', '.join(CAPTIONS[:4])}, ..., pictures, sounds"
)
_MEDIA = {"image": ("picture", "image-folder", "file", ".jpg"), "audio": ("sound", "audio-folder", "audio", ".wav")}


def _files(path: Path, medium: str) -> Iterator[Path]:
    """The pictures or sounds below a folder, but for sounds of kinds that are not read."""
    from pipeline.datasets.plain_files import Inside
    from pipeline.datasets.raw_files import is_picture, is_sound
    from pipeline.datasets.walk import walk

    ignored: Counter[str] = Counter()
    entries = walk(path, Inside(path))
    if medium == "image":
        return (Path(entry.path) for entry in entries if is_picture(entry.name, ignored))
    return (Path(entry.path) for entry in entries if is_sound(entry.name, ignored) and not _is_unread(entry.name))


def _is_unread(name: str) -> bool:
    from pipeline.datasets.tar_samples import UNREAD_SOUNDS

    return name.rpartition(".")[2].lower() in UNREAD_SOUNDS


def _unread(path: Path) -> str:
    """A word on sounds that are there and of kinds that are not read."""
    from pipeline.datasets.plain_files import Inside
    from pipeline.datasets.walk import walk

    names = [entry.name for entry in islice(walk(path, Inside(path)), _LOOKED_AT) if _is_unread(entry.name)]
    if not names:
        return ""
    return (
        f" Files such as {names[0]!r} are of a kind whose sound libsndfile does not read: convert them first, for "
        "example with ffmpeg -i IN OUT.flac"
    )


def _media_alone(path: Path, there: dict[str, list[Path]]) -> Found:
    """What media without a table are. Of a folder with both, those are left out that are few or without captions."""
    found: dict[str, Found] = {}
    refused: dict[str, SourceError] = {}
    for medium, files in there.items():
        try:
            found[medium] = _alone(path, medium, files)
        except SourceError as error:
            refused[medium] = error
    if not found:
        raise next(iter(refused.values()))
    many = [medium for medium, one in found.items() if one.samples >= _NEEDED]
    kept = many or [max(found, key=lambda medium: found[medium].samples)]
    first = found[kept[0]]
    for medium, files in there.items():
        if medium not in kept:
            why = "have no captions" if medium in refused else f"are fewer than {_NEEDED}"
            first.warnings.append(f"{len(files)} {_MEDIA[medium][0]}s lie there too and are left out: they {why}")
    if len(kept) == 1:
        return first
    first.warnings.append(
        "pictures and sounds become two data sets; where a sound belongs to a picture, say so in a table with the "
        "columns file,audio,caption"
    )
    sounds = found[kept[1]]
    return replace(first, what=f"{first.what}; and {sounds.what}", beside=sounds)


def _alone(path: Path, medium: str, files: list[Path]) -> Found:
    called, source, column, ending = _MEDIA[medium]
    looked = files[:_LOOKED_AT]
    beside = sum(file.with_suffix(".txt").is_file() for file in looked)
    entry: dict[str, Any] = {"source": source, "path": str(path)}
    if beside > len(looked) / 2:
        return Found(
            entry | {"captions": "beside", "labels": "none"},
            f"{len(files)} {called}s with captions in .txt files beside them", len(files), media=(medium,),
        )  # fmt: skip
    folders = Counter(file.relative_to(path).parts[0] for file in files if file.parent != path)
    if sum(folders.values()) > len(files) / 2 and len(folders) > 1:
        names = ", ".join(list(folders)[:4])
        what = f"{len(files)} {called}s in {len(folders)} folders, taken for classes: {names}, ..."
        return Found(entry, what, len(files), classes=True, media=(medium,))
    raise SourceError(
        f"{path} holds {len(files)} {called}s and no captions. Put captions.csv ({column},caption) into it, or a.txt "
        f"beside each a{ending}, or each {called} into a folder named after its class."
    )


def _tars(tars: list[Path], pattern: str) -> Found:
    from pipeline.datasets.samples import Failure
    from pipeline.datasets.tar_samples import PICTURES, SOUNDS, tar_samples

    left_out: Counter[str] = Counter()
    members: dict[str, None] = {}
    fields: list[str] = []
    for sample in islice(tar_samples(tars[0], left_out), 100):
        if not isinstance(sample, Failure):
            members |= dict.fromkeys(sample.members)
            fields = fields or _json_fields(sample)  # read here: behind the next sample its bytes are gone
    endings = {name.rpartition(".")[2] for name in members}
    media = tuple(medium for medium, kinds in (("image", PICTURES), ("audio", SOUNDS)) if endings & {*kinds})
    if not media:
        raise SourceError(
            f"{tars[0]} has no pictures and no sounds among its members ({', '.join(members) or 'none'})."
        )
    entry: dict[str, Any] = {"source": "webdataset", "path": pattern}
    entry |= {} if media == ("image",) else {"media": "both" if len(media) > 1 else "audio"}
    what = f"{len(tars)} tars of a webdataset (members {', '.join(members)})"
    if "txt" in members:
        return Found(entry, f"{what}, captions in .txt", 100 * len(tars), media=media)
    named = next((name for name in CAPTIONS if name in fields), None)
    if named is None:
        raise SourceError(
            f"{tars[0]} has members {', '.join(members)} and fields {', '.join(fields) or '-'} of .json; none is "
            f"called {', '.join(CAPTIONS[:4])}. Name the caption by hand: docs/datasets.md, source webdataset."
        )
    what = f"{what}, captions in .json under {named!r}"
    return Found(entry | {"captions": [f"json.{named}"]}, what, 100 * len(tars), media=media)


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
    """Which column of a table means what; None where neither pictures nor sounds, or no captions, have a known one."""
    from pipeline.datasets.table_rows import columns_of, rows_of

    header = columns_of(path)
    if header is None:
        header = list(dict.fromkeys(name for row in islice(rows_of(path, ()), 20) for name in row.values))
    lower = {name.strip().lower(): name for name in reversed(header)}
    shown = next((lower[name] for name in IMAGES if name in lower), None)
    heard = next((lower[name] for name in SOUND_COLUMNS if name in lower), None)
    if shown is not None and heard is None and _of_sounds(path, shown):
        shown, heard = None, shown
    caption = next((lower[name] for name in CAPTIONS if name in lower), None)
    media = {name: column for name, column in (("image", shown), ("audio", heard)) if column is not None}
    if not media or caption is None:
        return None
    return {**media, "caption": caption} | {name: lower[name] for name in OTHERS if name in lower}


def _of_sounds(path: Path, column: str) -> bool:
    """Whether the files that a column names are mostly sounds."""
    from pipeline.datasets.table_rows import rows_of
    from pipeline.datasets.tar_samples import SOUNDS

    named = [row.values.get(column) for row in islice(rows_of(path, [column]), _NEEDED) if row.reason is None]
    files = [str(one["path"] if isinstance(one, dict) and one.get("path") else one) for one in named]
    return 2 * sum(file.rpartition(".")[2].lower() in SOUNDS for file in files) > len(files)


def _table(path: Path) -> Found:
    from pipeline.datasets.table_rows import columns_of, rows_of

    columns = _columns(path)
    if columns is None:
        raise SourceError(
            f"{path} has the columns {columns_of(path)}; none is known for pictures ({', '.join(IMAGES)}) or sounds "
            f"({', '.join(SOUND_COLUMNS)}), or none for captions ({', '.join(CAPTIONS)}). Name yours by hand: "
            "docs/datasets.md, source table."
        )
    rows = list(islice((row.values for row in rows_of(path, [*columns.values()]) if row.reason is None), _LOOKED_AT))
    languages = tuple(sorted({str(row[columns["language"]]) for row in rows if row.get(columns["language"])})
                      ) if "language" in columns else ()  # fmt: skip
    many = "at least " if len(rows) == _LOOKED_AT else ""
    media = tuple(medium for medium in _MEDIA if medium in columns)
    named = " and ".join(f"{_MEDIA[medium][0]}s in {columns[medium]}" for medium in media)
    what = f"a table of {many}{len(rows)} rows, {named}, captions in {columns['caption']}: {path.name}"
    simple = {_MEDIA[medium][2]: medium for medium in _MEDIA} | {name: name for name in ("caption", *OTHERS)}
    plain = all(columns[medium] == _MEDIA[medium][2] for medium in media)
    if path.suffix == ".csv" and plain and set(columns_of(path) or ()) <= set(simple):
        entry: dict[str, Any] = {"source": "folder", "path": str(path.parent)}
        entry |= {} if path.name == "captions.csv" else {"captions": path.name}
    else:
        entry = {"source": "table", "path": str(path), "columns": columns}
    found = Found(entry, what, len(rows), languages=languages, media=media)
    for medium in media:
        found.warnings.extend(_missing(path.parent, [row.get(columns[medium]) for row in rows], _MEDIA[medium][0]))
    return found


def _missing(folder: Path, written: list[Any], called: str) -> list[str]:
    """A word of warning where pictures or sounds that a table names are not there."""
    paths = [path for path in written if isinstance(path, str) and len(path) < 1000]
    gone = [path for path in paths if not (folder / Path(path)).is_file()]
    if not gone:
        return []
    return [
        f"{len(gone)} of {len(paths)} {called}s are not at their paths, the first {gone[0]!r}; relative paths start at "
        f"{folder}. If they lie elsewhere, add `images: FOLDER` to the data set."
    ]
