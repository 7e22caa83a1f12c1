"""Orders as good as random that a new name does not change: by a hash of the name."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.ids import Ids

_PIECE = 1 << 16
_WORD = 8  # bytes of each hash that are compared at first
_BYTES = 16  # that are compared where those are equal


def hash_order(prefix: str, names: Sequence[str] | np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """Positions (n,) int64 of distinct names in the order of the SHA-256 of `prefix:name`.

    Args:
        rows: (n,) positions in `names`; left out, all of them. The order is that of positions in `rows`.
    """
    count = len(names) if rows is None else len(rows)
    first = np.empty(count, np.uint64)
    for start in range(0, count, _PIECE):
        digests = b"".join(digest[:_WORD] for digest in _digests(prefix, names, rows, start))
        first[start : start + _PIECE] = np.frombuffer(digests, ">u8")
    order = np.argsort(first, kind="stable")
    tied = first[order[1:]] == first[order[:-1]]
    if not tied.any():
        return order
    hashes = np.empty((count, 2), ">u8")
    for start in range(0, count, _PIECE):
        digests = b"".join(digest[:_BYTES] for digest in _digests(prefix, names, rows, start))
        hashes[start : start + _PIECE] = np.frombuffer(digests, ">u8").reshape(-1, 2)
    return np.lexsort((hashes[:, 1], hashes[:, 0]))


def _digests(prefix: str, names: Sequence[str] | np.ndarray, rows: np.ndarray | None, start: int) -> list[bytes]:
    """The hashes of some names, from `start` on."""
    some = slice(start, start + _PIECE)
    piece = names[some] if rows is None else Ids.of(names).take(rows[some])
    return [hashlib.sha256(f"{prefix}:{name}".encode()).digest() for name in Ids.of(piece)]
