"""The arrays that an encoder produces, kept in the scratch folder so that a fully cached run need not load it."""

from pathlib import Path
from typing import Any

from pipeline.features.sealed import seal, unseal
from pipeline.plain_files import write_whole

LAYOUT = "layout.json"


def recall(scratch: Path) -> dict[str, Any] | None:
    """What `remember` wrote into this scratch folder; None if it is missing or cannot be trusted.

    Earlier versions wrote it without a checksum. Such a file is ignored too: a wrong shape in it would enter the store
    with valid checksums, while recreating it costs one load of the encoder per fingerprint.
    """
    try:
        content = unseal((scratch / LAYOUT).read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def remember(scratch: Path, content: dict[str, Any]) -> None:
    """Write `content` (JSON; the order of its keys is kept) into the scratch folder, whole or not at all."""
    write_whole(scratch / LAYOUT, seal(content))
