"""Orders as good as random that a new name does not change: by a hash of the name."""

import hashlib
from collections.abc import Sequence

import numpy as np

from pipeline.ids import Ids

_PIECE = 1 << 16
_BYTES = 16  # of each hash that are compared


def hash_order(prefix: str, names: Sequence[str] | np.ndarray) -> np.ndarray:
    """Positions (n,) int64 of distinct names in the order of the SHA-256 of `prefix:name`."""
    hashes = np.empty((len(names), 2), ">u8")
    for start in range(0, len(names), _PIECE):
        piece = Ids.of(names[start : start + _PIECE])
        digests = (hashlib.sha256(f"{prefix}:{name}".encode()).digest()[:_BYTES] for name in piece)
        hashes[start : start + len(piece)] = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2)
    return np.lexsort((hashes[:, 1], hashes[:, 0]))
