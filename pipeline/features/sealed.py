"""JSON with a checksum of its own, so that a bit changed anywhere in the file shows."""

import json
from typing import Any

import xxhash


def seal(content: Any) -> bytes:
    """The bytes of a file that holds `content`, a JSON value whose mappings have string keys; their order is kept."""
    own = xxhash.xxh3_128_hexdigest(json.dumps(content).encode("utf-8"))
    return json.dumps({"content": content, "xxh3_128": own}, indent=1).encode("utf-8") + b"\n"


def unseal(stored: bytes) -> Any:
    """The content of a sealed file.

    Raises:
        ValueError: these are not the bytes that `seal` gave.
    """
    try:
        content = json.loads(stored)["content"]
        intact = seal(content) == stored
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise ValueError("the content is not what its checksum says")
    return content
