"""JSON with its own checksum, so that a single changed bit anywhere in the file is detected."""

import json
from typing import Any

import xxhash


def seal(content: Any) -> bytes:
    """The bytes of a file that holds `content`, a JSON value whose mappings have string keys; their order is kept."""
    digest = xxhash.xxh3_128_hexdigest(json.dumps(content).encode("utf-8"))
    return json.dumps({"content": content, "xxh3_128": digest}, indent=1).encode("utf-8") + b"\n"


def unseal(stored: bytes) -> Any:
    """The content of a sealed file.

    Raises:
        ValueError: these are not bytes that `seal` returned.
    """
    try:
        content = json.loads(stored)["content"]
        intact = seal(content) == stored
    except (ValueError, KeyError, TypeError, RecursionError):
        intact = False
    if not intact:
        raise ValueError("the content does not match its checksum")
    return content
