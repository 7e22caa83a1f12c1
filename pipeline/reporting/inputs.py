"""JSON and CSV files of the stages; every value keeps the file and the JSON pointer it was read from."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.errors import DataError


class Node:
    """A value inside a JSON file. Walking from node to node keeps the JSON pointer (RFC 6901)."""

    def __init__(self, file: Path, value: Any, pointer: str = "") -> None:
        self.file = file
        self.value = value
        self.pointer = pointer

    @property
    def source(self) -> str:
        """File and JSON pointer, e.g. `data/results/retrieval.json#/rows/12/value`."""
        return f"{self.file.as_posix()}#{self.pointer}"

    def __getitem__(self, key: str | int) -> "Node":
        """The entry `key` of an object or a list.

        Raises:
            DataError: it is missing; names the file and the place.
        """
        entry = self._step(key)
        if entry is None:
            raise DataError(f"{self.source} has no `{key}`. The file is of another version or damaged; run: dvc repro")
        return entry

    def get(self, key: str | int) -> "Node | None":
        """The entry `key`, or None where it is absent or null."""
        entry = self._step(key)
        return None if entry is None or entry.value is None else entry

    def __iter__(self) -> Iterator["Node"]:
        """The entries of a list.

        Raises:
            DataError: it is not a list.
        """
        if not isinstance(self.value, list):
            raise self._other("a list")
        return (self[position] for position in range(len(self.value)))

    def entries(self) -> Iterator[tuple[str, "Node"]]:
        """Keys and values of an object.

        Raises:
            DataError: it is not an object.
        """
        if not isinstance(self.value, dict):
            raise self._other("an object")
        return ((str(key), self[key]) for key in self.value)

    def nodes(self, key: str) -> "list[Node]":
        """The entries of the list `key`; none where it is absent or null."""
        entry = self.get(key)
        return [] if entry is None else list(entry)

    def text(self) -> str:
        """The value as a string.

        Raises:
            DataError: it is not a string.
        """
        if not isinstance(self.value, str):
            raise self._other("a string")
        return self.value

    def texts(self, key: str) -> "list[str]":
        """The strings of the list `key`; none where it is absent."""
        return [node.text() for node in self.nodes(key)]

    def number(self) -> float:
        """The value as a number.

        Raises:
            DataError: it is not a finite number.
        """
        if isinstance(self.value, bool) or not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise self._other("a finite number")
        return float(self.value)

    def optional(self, key: str) -> str:
        """The string `key`, empty where it is absent or null."""
        entry = self.get(key)
        return "" if entry is None else entry.text()

    def _step(self, key: str | int) -> "Node | None":
        inside = isinstance(self.value, dict) and key in self.value
        if not inside and not (isinstance(self.value, list) and isinstance(key, int) and key < len(self.value)):
            return None
        escaped = str(key).replace("~", "~0").replace("/", "~1")
        return Node(self.file, self.value[key], f"{self.pointer}/{escaped}")

    def _other(self, expected: str) -> DataError:
        return DataError(f"{self.source} should be {expected}, found {self.value!r:.80}. Run: dvc repro")


def read_json(path: Path) -> Node | None:
    """The JSON file at `path`, or None if there is no such file.

    Raises:
        DataError: it is not JSON.
    """
    try:
        return Node(path, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). Delete it and run: dvc repro") from error


def read_curves(path: Path) -> list[dict[str, float]] | None:
    """A CSV file of numbers, by column; None if there is no file; an empty field is left out of its row.

    Raises:
        DataError: a field is not a number.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return [{str(key): float(field) for key, field in row.items() if field} for row in rows]
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, OSError) as error:
        raise DataError(f"{path} should hold numbers in columns ({error}). Delete it and run: dvc repro") from error
