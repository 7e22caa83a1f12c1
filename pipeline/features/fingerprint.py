"""Everything that determines a feature's value: two stores with the same digest hold interchangeable rows."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import FingerprintMismatch, StoreError

FORMAT_VERSION = 1

# Bump by hand when the code changes what a feature means; the golden-features test fails when values move without it.
ENCODING_VERSION = 1


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode("utf-8")).hexdigest()


@dataclass(frozen=True)
class Fingerprint:
    """Compared fields, and descriptions that are recorded beside them but never compared.

    Attributes:
        compared: encoder weights, preprocessing, resolution, layers, pooling, dtypes, text length, versions.
        described: names, revisions, library versions.
    """

    compared: dict[str, Any]
    described: dict[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 over the compared fields, in hex."""
        return digest_of(self.compared)

    def as_dict(self) -> dict[str, Any]:
        """What a store keeps in its attributes."""
        return {"digest": self.digest, "compared": self.compared, "described": self.described}


def differing_fields(found: dict[str, Any], expected: dict[str, Any], but_for: Collection[str] = ()) -> str:
    """One line per compared field in which two fingerprints differ, with both values.

    Args:
        found, expected: as `Fingerprint.as_dict` gives them.
        but_for: compared fields to pass over.
    """
    have, want = found.get("compared", {}), expected.get("compared", {})
    lines = [
        f"  {key}: found {have.get(key)!r}, expected {want.get(key)!r}"
        for key in sorted((have.keys() | want.keys()) - set(but_for))
        if have.get(key) != want.get(key)
    ]
    return "\n".join(lines) or "  the digest itself"


def require_same_encoder(found: dict[str, Any], expected: dict[str, Any], where: str, but_for: Collection[str]) -> None:
    """Check that a store holds another view of the encoder that wrote the expected one.

    Args:
        found, expected: as `Fingerprint.as_dict` gives them.
        where: the store, for the message.
        but_for: the compared fields in which the two views may differ.

    Raises:
        FingerprintMismatch: lists each other field that differs, with both values.
    """
    have, want = found.get("compared", {}), expected.get("compared", {})
    if have and all(have.get(key) == want.get(key) for key in (have.keys() | want.keys()) - set(but_for)):
        return
    raise FingerprintMismatch(
        f"{where} holds features of another encoder than expected; the two may differ only in "
        f"{', '.join(but_for)}:\n{differing_fields(found, expected, but_for)}\n"
        "Bring all stores and heads up to date with: dvc repro"
    )


def format_of(fingerprint: dict[str, Any]) -> int:
    """The format version that a fingerprint (as `Fingerprint.as_dict` gives it) names; the current one if none."""
    return int(fingerprint.get("compared", {}).get("format_version", FORMAT_VERSION))


def require_format(found: dict[str, Any], where: str) -> None:
    """Check that this version of the program can read the layout of a store.

    Args:
        found: the fingerprint of the store, as `Fingerprint.as_dict` gives it.
        where: the store, for the message.

    Raises:
        StoreError: it is of an older or a newer format.
    """
    version = format_of(found)
    if version == FORMAT_VERSION:
        return
    newer = "It was written by a newer Permafrost: update yours. Or write" if version > FORMAT_VERSION else "Write"
    raise StoreError(
        f"{where} is of format {version}, but this version of Permafrost reads format {FORMAT_VERSION}. "
        f"{newer} the store again with: python -m pipeline.store repair {where}"
    )


def require_fingerprint(expected: Any) -> None:
    """Check that something is a fingerprint as `Fingerprint.as_dict` gives it.

    Raises:
        StoreError: it is something else.
    """
    if not (isinstance(expected, Mapping) and isinstance(expected.get("digest"), str)):
        raise StoreError(
            f"expect must be a fingerprint, as `store.fingerprint` or Fingerprint.as_dict() gives it, found "
            f"{expected!r:.80} ({type(expected).__name__})."
        )


def require_same(found: dict[str, Any], expected: dict[str, Any], where: str) -> None:
    """Check that a store's recorded fingerprint is the expected one.

    Args:
        found, expected: as `Fingerprint.as_dict` gives them.
        where: the store, for the message.

    Raises:
        FingerprintMismatch: lists each field that differs, with both values.
    """
    if found.get("digest") == expected.get("digest"):
        return
    raise FingerprintMismatch(
        f"{where} holds other features than requested:\n{differing_fields(found, expected)}\n"
        "Encode it again with: dvc repro encode (or undo the edit that changed the encoder or its view)"
    )
