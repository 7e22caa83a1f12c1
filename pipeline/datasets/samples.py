"""What every source of raw data yields and the builder takes: samples in order, and failures."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.datasets.plain_files import MAX_PICTURE, Inside, read_plain, too_large

MAX_NAME = 4096  # characters of a path (PATH_MAX of Linux), a key, a class or a concept
MAX_LANGUAGE = 64
_FIELDS = 20  # that a message lists
SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **{"restval": "train", "training": "train", "testing": "test"},
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
}


def split_named(written: str) -> str | None:
    """The split that a data set's name for it stands for (also val2014 and restval), or None."""
    return _SPLIT_NAMES.get(written.strip().lower().rstrip("0123456789"))


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image, or sound: a file, a byte range of a file, or bytes that are in no file.

    Attributes:
        path: the absolute path of the file; None if the bytes must be stored in the index.
        offset, length: the byte range of the image; -1 reads to the end.
        fetch: returns the bytes, if that is cheaper than opening `path` or there is no path.
    """

    path: Path | None
    offset: int = 0
    length: int = -1
    fetch: Callable[[], bytes] | None = None

    def read(self) -> bytes:
        """The encoded bytes.

        Raises:
            OSError: the file cannot be read, is not a regular one, or too large.
        """
        if self.fetch is not None:
            content = self.fetch()
            if len(content) > MAX_PICTURE:
                raise too_large(len(content), MAX_PICTURE)
            return content
        assert self.path is not None, "a picture without a path has `fetch`"
        return read_plain(self.path, MAX_PICTURE, self.offset, self.length)


@dataclass(frozen=True, slots=True)
class Caption:
    """A text that describes an image, in a language (ISO code)."""

    text: str
    language: str = "en"
    role: str = "caption"


@dataclass(frozen=True, slots=True)
class Label:
    """What an image shows; the columns of labels.parquet. Without a concept the image is its own concept."""

    concept: str | None
    classname: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One image, or sound, with its captions and labels.

    Attributes:
        key: the name by which a human knows it.
        picture: None where the sample is one of a further modality alone.
        labels: the first is the main one; without any, the image is its own concept.
        split: train, validation or test if the data set defines it.
        problems: defects despite which it can be used; each is listed among the failures.
        place: where it comes from, for the failures; empty if the key tells.
        lacks: why it has neither caption nor label, and what is there instead; for the failures.
        units: how many of its source's `unit` it is made of.
        further: an encoded sample of `modality`; beside a picture, one that belongs to it.
        modality: of `further`.
    """

    key: str
    picture: Picture | None
    captions: Sequence[Caption] = ()
    labels: Sequence[Label] = ()
    split: str | None = None
    problems: Sequence[str] = ()
    place: str = ""
    lacks: str = ""
    units: int = 1
    further: Picture | None = None
    modality: str = "audio"

    @property
    def media(self) -> tuple[Picture, ...]:
        """Picture and what else it has."""
        return tuple(medium for medium in (self.picture, self.further) if medium is not None)


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that could not be turned into a sample, and why."""

    key: str
    reason: str
    units: int = 1


@dataclass(frozen=True)
class Source:
    """A data set as it is read: where it is, its samples, in an order that appending keeps, and its about.json.

    `samples` can be iterated once; meanwhile `left_out` counts what lies beside them, by reason. The paths of pictures
    may not lead out of `inside`. `unit` is what both count: files, rows, members of tars.
    """

    where: str
    samples: Iterable[Sample | Failure]
    about: dict[str, Any] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    inside: Inside | None = None
    unit: str = "files"


def readable(text: str) -> str:
    """A text as valid UTF-8: bytes and characters that are none are spelled out, as in `caf\\xe9.jpg`."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def fields_in(value: Any) -> str:
    """What an entry of JSON holds in place of the fields expected, for messages."""
    if not isinstance(value, Mapping):
        return f"; found a {type(value).__name__}, not an object"
    names = ", ".join(map(str, list(value)[:_FIELDS])) or "none"
    return f"; its fields are {names}{', ...' if len(value) > _FIELDS else ''}"


def wrong_with_names(*names: str | None) -> str | None:
    """Why names, of a file, a class or a picture, cannot be written into an index; None if they can."""
    for name in names:
        if name is None:
            continue
        if len(name) > MAX_NAME:
            return f"its name has {len(name)} characters; at most {MAX_NAME}"
        if name.isascii() and "\0" not in name:
            continue
        if "\0" in name:
            return f"its name holds a zero byte ({readable(name)!r})"
        if readable(name) != name:
            return f"its name is not valid UTF-8 ({readable(name)}): rename it"
    return None


def wrong_with_sample(sample: Sample) -> str | None:
    """Why the names of a sample cannot be written into an index, such as no UTF-8; None if they can."""
    labels = [name for label in sample.labels for name in (label.concept, label.classname, label.category)]
    paths = [None if medium.path is None else str(medium.path) for medium in sample.media]
    if reason := wrong_with_names(*paths, sample.key, *labels):
        return reason
    for language in {caption.language for caption in sample.captions}:
        if len(language) > MAX_LANGUAGE or "\0" in language or readable(language) != language:
            return f"its language is no code ({readable(language[:MAX_LANGUAGE])!r})"
    return None
