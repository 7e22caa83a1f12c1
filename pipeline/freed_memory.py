"""Freed memory goes back to the system; allocators keep what they think they need again."""

import ctypes
from functools import cache
from typing import Any

import pyarrow as pa


def give_back() -> None:
    """Return what is free, in a few milliseconds.

    To be called when many pieces of a table have been put together. Arrow keeps the buffers that it decoded them in,
    and glibc keeps the pieces, as long as they are smaller than 32 MB. Neither serves for the arrays of all rows, which
    come next, so that every row would take its room twice.
    """
    pa.default_memory_pool().release_unused()
    if (trim := _trim()) is not None:
        trim(0)


@cache
def _trim() -> Any:
    """glibc's `malloc_trim`; None where the C library has none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # macOS, musl, Windows
        return None
