"""Hits as text, for files of rows."""

import numpy as np


def bits(hits: np.ndarray) -> str:
    """Hits (n,) as text."""
    return f"{len(hits)}:{np.packbits(hits).tobytes().hex()}"


def hits_of(text: str) -> np.ndarray:
    """What `bits` wrote, (n,) bool."""
    count, _, written = text.partition(":")
    found: np.ndarray = np.unpackbits(np.frombuffer(bytes.fromhex(written), np.uint8))[: int(count)].astype(bool)
    return found
