"""Named template sets: those that the field quotes, and those that a data set brings itself."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import ConfigError, DataError

OPEN_CLIP = {"openai-80": "OPENAI_IMAGENET_TEMPLATES", "openai-7": "SIMPLE_IMAGENET_TEMPLATES"}
OWN = "own"


def templates_of(written: str | Sequence[str], index_folder: Path) -> tuple[str, ...]:
    """The templates of one set for one data set, with {} for the class name.

    Args:
        written: templates, or a name: `openai-80` and `openai-7` are OpenAI's for ImageNet (Radford et al. 2021) as
            open_clip publishes them; `own` are those that came with the data set.
        index_folder: the index of the data set.

    Raises:
        ConfigError: open_clip is not installed.
        DataError: the data set has no templates of its own.
    """
    if not isinstance(written, str):
        return tuple(written)
    return _own(index_folder) if written == OWN else _published(OPEN_CLIP[written])


def templates_digest(templates: Sequence[str]) -> str:
    """SHA-256 of templates in order, in hex: two sets with one name are told apart by it."""
    return hashlib.sha256(json.dumps(list(templates)).encode("utf-8")).hexdigest()


def _published(name: str) -> tuple[str, ...]:
    from pipeline.encoders.torchvision_mend import ensure_torchvision

    ensure_torchvision()
    try:
        import open_clip
    except ImportError as error:
        raise ConfigError(
            f"OpenAI's templates are read from open_clip, which cannot be imported ({error}). "
            "Install it with: pip install open_clip_torch"
        ) from error
    return tuple(template("{}") for template in getattr(open_clip, name))


def _own(index_folder: Path) -> tuple[str, ...]:
    about = index_folder / "about.json"
    found = json.loads(about.read_text(encoding="utf-8")).get("templates") if about.is_file() else None
    if not found:
        raise DataError(
            f"{about} names no templates, so there is no prompt set `{OWN}` for this data set. Write templates for it "
            "under prompts.sets in params.yaml."
        )
    return tuple(found)
