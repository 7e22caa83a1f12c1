"""Addresses of stores on object stores: s3://bucket/prefix, gs://bucket/prefix, az://container/prefix."""

import re
from pathlib import Path

from pipeline.errors import StoreError

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/+(.*)", re.DOTALL)  # a Path has lost one of the two slashes


def is_object_url(where: str | Path) -> bool:
    """Whether `where` is an address on an object store, not a folder; a `Path` that was made of one counts."""
    return _ADDRESS.fullmatch(str(where)) is not None


def object_url(where: str | Path) -> str:
    """An address in the form in which it is compared and shown: no slash at the end.

    Raises:
        StoreError: it is none, or lacks its bucket or its prefix.
    """
    found = _ADDRESS.fullmatch(str(where))
    if found is None:
        raise StoreError(f"Expected an address like s3://bucket/prefix ({', '.join(SCHEMES)}), found {str(where)!r}.")
    parts = found[2].rstrip("/").split("/")
    if len(parts) < 2 or any(part in ("", ".", "..") for part in parts):
        raise StoreError(
            f"{str(where)!r} should name a bucket and a prefix of its own for the store, as s3://bucket/features/emoji."
        )
    if any(letter in found[2] for letter in "?#\\\n\r"):
        raise StoreError(
            f"{str(where)!r} holds a query or other letters that a prefix cannot have. Give credentials and options by "
            "environment variables (docs/object_stores.md)."
        )
    return f"{found[1]}://{'/'.join(parts)}"
