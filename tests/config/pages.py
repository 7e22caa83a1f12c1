"""The YAML of the documentation, and params.yaml with it."""

import copy
import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
_WHOLE = {"kind", "source", "catalogue", "method"}  # an entry with one of these keys replaces the one of its name


def blocks(page: str) -> list[dict[str, Any]]:
    """The YAML blocks of a page, in its order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, flags=re.S)]


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """The project's params.yaml with these parts added, as a reader would add them."""
    raw: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw.pop("hydra")
    for part in parts:
        add(raw, part)
    return raw


def add(target: dict[str, Any], part: dict[str, Any]) -> None:
    """Add entries to parameters, key by key; what stands there is replaced."""
    for key, value in part.items():
        if isinstance(value, dict) and isinstance(target.get(key), dict) and not _WHOLE & value.keys():
            add(target[key], value)
        else:
            target[key] = copy.deepcopy(value)
