"""Random numbers from hashes of their purpose, so that no draw depends on how many came before it."""

import hashlib
from collections.abc import Sequence
from typing import TypeVar

Item = TypeVar("Item")


def uniform(*key: object) -> float:
    """A number in [0, 1), the same for the same key: the first 64 bits of its SHA-256."""
    digest = hashlib.sha256("\0".join(str(part) for part in key).encode("utf-8")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def pick(items: Sequence[Item], *key: object) -> Item:
    """One of `items`, the same for the same key and the same items."""
    return items[int(uniform(*key) * len(items))]
