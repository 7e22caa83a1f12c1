"""What every source of raw data yields and the builder takes: samples in order, and what could not be made one."""

import errno
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    **{name: name for name in SPLITS},
    **{"restval": "train", "training": "train", "testing": "test"},
    **dict.fromkeys(("val", "valid", "dev"), "validation"),
}


def split_named(written: str) -> str | None:
    """The split that a data set means by `written` (val2014 and restval too), or None."""
    return _SPLIT_NAMES.get(written.strip().lower().rstrip("0123456789"))


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image: a file, a range of bytes of a file, or bytes that lie nowhere by themselves.

    Attributes:
        path: the absolute path of the file; None if the bytes have to be stored in the index.
        offset, length: where the image lies in it; -1 reads to the end.
        fetch: gives the bytes where that is cheaper than opening `path`, or where there is none.
    """

    path: Path | None
    offset: int = 0
    length: int = -1
    fetch: Callable[[], bytes] | None = None

    def read(self) -> bytes:
        """The encoded bytes.

        Raises:
            OSError: the file cannot be read.
        """
        if self.fetch is not None:
            return self.fetch()
        assert self.path is not None, "a picture without a path brings its bytes"
        if self.path.exists() and not self.path.is_file():
            raise OSError(errno.EINVAL, "it is no file")  # a pipe would be waited for, a device read for ever
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.length)


@dataclass(frozen=True, slots=True)
class Caption:
    """A text that describes an image, in a language (ISO code)."""

    text: str
    language: str = "en"
    role: str = "caption"


@dataclass(frozen=True, slots=True)
class Label:
    """What an image shows; the columns of labels.parquet. Without a concept the image is one of its own."""

    concept: str | None
    classname: str | None = None
    category: str | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with all that is said of it.

    Attributes:
        key: the name by which a human knows the image.
        labels: the first one leads; without any, the image is a concept of its own.
        split: train, validation or test where the data set says so.
        problems: what is wrong with it although it can be used; each is listed among the failures.
        place: where it is written, for the failures; its key, if that says so already.
    """

    key: str
    picture: Picture
    captions: Sequence[Caption] = ()
    labels: Sequence[Label] = ()
    split: str | None = None
    problems: Sequence[str] = ()
    place: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What could not be made a sample, and why."""

    key: str
    reason: str


@dataclass(frozen=True)
class Source:
    """A data set as it is read: where it is, its samples, in an order that appending keeps, and its about.json.

    `samples` may be gone through once.
    """

    where: str
    samples: Iterable[Sample | Failure]
    about: dict[str, Any] = field(default_factory=dict)
