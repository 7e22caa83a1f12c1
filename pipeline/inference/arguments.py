"""Arguments that a caller gives: each is what it should be, or a message says so before anything is computed."""

import os
import sys
from collections.abc import Iterable, Mapping
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.errors import DataError

MOST_BATCH = 65_536  # inputs of one forward pass, as in params.yaml
_ONE = (str, bytes, bytearray, Path, Image.Image)


def whole_number(value: Any, name: str, least: int = 1, most: int = sys.maxsize) -> int:
    """A whole number from `least` to `most`.

    Raises:
        DataError: it is another kind of value, such as a bool or a float, or lies outside.
    """
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        number = index(value)
    except TypeError:
        raise DataError(f"{name} must be a whole number, found {value!r} ({type(value).__name__}).") from None
    if number < least:
        raise DataError(f"{name} must be at least {least}, found {number}.")
    if number > most:
        raise DataError(f"{name} must be at most {most}, found {number}.")
    return number


def string(value: Any, name: str) -> str:
    """A string.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(value, str):
        raise DataError(f"{name} must be a string, found {value!r:.80} ({type(value).__name__}).")
    return value


def strings(values: Any, name: str) -> tuple[str, ...]:
    """One string or path, or several, as strings.

    Raises:
        DataError: it is something else.
    """
    given = [values] if isinstance(values, (str, os.PathLike)) or not isinstance(values, Iterable) else list(values)
    return tuple(string(os.fspath(one) if isinstance(one, os.PathLike) else one, name) for one in given)


def strings_by_name(values: Any, name: str) -> dict[str, str]:
    """Strings by name, none for None.

    Raises:
        DataError: it is no dict, or one of something else.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise DataError(f"{name} must be a dict of strings, found {values!r:.80} ({type(values).__name__}).")
    return {string(key, f"A key of {name}"): string(value, f"{name}[{key!r}]") for key, value in values.items()}


def listed(values: Any, what: str) -> list[Any]:
    """Several things as a list, in the caller's order: of a sequence, a generator, a column, an array of strings.

    Raises:
        DataError: there is none, it is a single thing of another kind, or one of those that `require_order` refuses.
    """
    require_order(values, what)
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "UOT":
        values = values.tolist()
    if not isinstance(values, Iterable) or isinstance(values, (bytes, bytearray, np.ndarray, torch.Tensor)):
        raise DataError(f"Expected one {what} or a list of them, found {type(values).__name__}.")
    found = list(values)
    if not found:
        raise DataError(f"Expected at least one {what}, found an empty {'list' if values == [] else 'sequence'}.")
    return found


def require_order(values: Any, what: str) -> None:
    """Refuse what has several things in no order, or in one that is not meant.

    Raises:
        DataError: a set, whose order changes from run to run; a dict; a table, which goes through names of columns.
    """
    kind = type(values).__name__
    if isinstance(values, (set, frozenset)):
        raise DataError(f"Expected one {what} or a list of them, found a {kind}, which has no order: pass sorted(...).")
    if isinstance(values, Mapping):
        raise DataError(f"Expected one {what} or a list of them, found a {kind}: pass a list of its keys or values.")
    if hasattr(values, "columns") and not isinstance(values, type):
        raise DataError(f"Expected one {what} or a list of them, found a {kind}: pass one of its columns.")


def several(values: Any, name: str, what: str) -> list[Any]:
    """What must be a list, perhaps an empty one; its elements are checked by who uses them.

    Raises:
        DataError: a single thing, such as one string.
    """
    if isinstance(values, _ONE) or not isinstance(values, Iterable):
        raise DataError(f"{name} must be a list of {what}, found {values!r:.80} ({type(values).__name__}).")
    return list(values)


def require_numbers(values: torch.Tensor) -> None:
    """Refuse a tensor whose numbers do not lie in memory one after another.

    Raises:
        DataError: it is on the device meta, sparse or nested.
    """
    if values.is_meta:
        raise DataError("Expected a tensor with numbers, found one on the device meta, which has a shape alone.")
    if values.is_nested:
        raise DataError("Expected a dense tensor, found a nested one: pass a list of its parts, .unbind().")
    if values.layout != torch.strided:
        raise DataError(f"Expected a dense tensor, found one of layout {values.layout}: pass .to_dense().")
