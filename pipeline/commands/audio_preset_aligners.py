"""The aligners, and what evaluates them, of `permafrost init --preset audio`."""

from typing import Any

NEEDED_BY_ALIGNERS: dict[str, tuple[str, ...]] = {}
ALIGNED: dict[str, dict[str, Any]] = {}  # by section, as `ENTRIES` of audio_preset
