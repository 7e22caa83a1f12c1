"""Samples of further modalities: what the reader of each has, and the tables that all of them have."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import pyarrow as pa

from pipeline.config.further import FURTHER
from pipeline.datasets.known import Checked
from pipeline.datasets.tables import LABELS, PAIRS, SAMPLES


class Info(Protocol):
    """What checking a sample tells of it.

    Attributes:
        form: its format in lower case, with which the name of a stored sample ends.
        columns: what the table has of it, as `Reader.COLUMNS`.
    """

    @property
    def form(self) -> str: ...
    @property
    def columns(self) -> Sequence[Any]: ...

    def checked(self, identity: str) -> Checked:
        """The same as the result of a check, which is remembered."""
        ...


class Reader(Protocol):
    """The module of a modality that says what its samples are.

    Attributes:
        ENDINGS: of names of files, without the dot; also of kinds that are not read, which become failures.
        COLUMNS: of the table of samples, those of its own: names and types.
    """

    ENDINGS: Sequence[str]
    COLUMNS: Sequence[tuple[str, pa.DataType]]

    def check(self, content: bytes, whole: bool) -> Info:
        """What the bytes of a file hold; all of it is decoded if `whole`.

        Raises:
            DataError: they cannot be used, with a short reason.
        """
        ...

    def told(self, checked: Checked) -> Info:
        """What was told, from the result of a check that is remembered."""
        ...


@cache
def reader(modality: str) -> Reader:
    """The reader of a modality of `FURTHER`."""
    found: Reader = FURTHER[modality].part("reader")
    return found


@cache
def schemas(modality: str) -> dict[str, pa.Schema]:
    """The tables of an index that has such samples, by name: the samples, their labels, texts and pictures."""
    key = (f"{modality}_id", pa.string())
    return {
        modality: pa.schema(
            [
                key,  # content hash of the encoded bytes
                ("modality", pa.string()),
                ("path", pa.string()),  # path, offset and length as in `images`
                ("offset", pa.int64()),
                ("length", pa.int64()),
                ("form", pa.string()),
                *reader(modality).COLUMNS,
                ("kind", pa.string()),  # of sounds effect, speech or sound; of others what a sample is called
                ("language", pa.string()),  # of speech, or null
                ("key", pa.string()),
            ]
        ),
        f"{modality}_labels": pa.schema([key, *list(LABELS)[1:]]),
        f"{modality}_pairs": pa.schema([key, *list(PAIRS)[1:]]),
        f"{modality}_images": pa.schema([key, ("image_id", pa.string())]),  # what belongs to a picture
    }


@cache
def samples_schema(modality: str) -> pa.Schema:
    """The table of data/splits with such samples, before its columns of splits."""
    told = [("kind", pa.string()), ("language", pa.string())]
    return pa.schema([SAMPLES.field(0), (f"{modality}_id", pa.string()), *list(SAMPLES)[2:], *told])
