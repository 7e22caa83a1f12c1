"""Prompt sets: templates from the literature or from the data set itself, and sentences for each class."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError, DataError
from pipeline.files import read_object

OPEN_CLIP = {"openai-80": "OPENAI_IMAGENET_TEMPLATES", "openai-7": "SIMPLE_IMAGENET_TEMPLATES"}
OWN, DESCRIPTIONS = "own", "descriptions"
_ABOUT = "about.json"
_ARTICLE = re.compile(r"\b([Aa]) \{\}")
_VOWEL = re.compile(r"[aeiou](?!ni[cqtv]|uro|ne\b|ne-)", re.IGNORECASE)  # by letter, less "unicorn", "euro", "one-"


def fill(template: str, classname: str) -> str:
    """Put a class name into a template; "a {}" becomes "an {}" before a vowel."""
    if _VOWEL.match(classname):
        template = _ARTICLE.sub(r"\1n {}", template)
    return template.replace("{}", classname)


@dataclass(frozen=True)
class PromptSet:
    """The prompts for classes.

    Attributes:
        templates: with {} for the class name.
        sentences: by class name; classes that have some use them instead of templates.
    """

    templates: tuple[str, ...]
    sentences: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def prompts(self, classname: str) -> tuple[str, ...]:
        """The texts for one class."""
        sentences = self.sentences.get(classname)
        return tuple(sentences) if sentences else tuple(fill(template, classname) for template in self.templates)

    def about(self) -> dict[str, Any]:
        """How many prompts a class has at most, and their SHA-256: two sets of the same name differ in it."""
        number = max([len(self.templates), *map(len, self.sentences.values())])
        content: list[Any] = list(self.templates)
        if self.sentences:
            content.append({name: list(sentences) for name, sentences in sorted(self.sentences.items())})
        digest = hashlib.sha256(json.dumps(content).encode("utf-8")).hexdigest()
        return {"templates": number, "sha256": digest}


def prompt_set(written: str | Sequence[str], index_folder: Path) -> PromptSet:
    """The prompts of one set for one data set.

    Args:
        written: templates, or a name: `openai-80` and `openai-7` are OpenAI's for ImageNet (Radford et al. 2021) as
            open_clip publishes them; `own` are those that came with the data set; `descriptions` its sentences for
            each class, as Freeze-Align's own evaluation has them, or the bare class name where it has none.
        index_folder: the index of the data set.

    Raises:
        ConfigError: open_clip is not installed.
        DataError: the data set has no templates of its own.
    """
    if not isinstance(written, str):
        return PromptSet(tuple(written))
    if written == DESCRIPTIONS:
        return PromptSet(("{}",), _about(index_folder).get("descriptions") or {})
    return PromptSet(_own(index_folder) if written == OWN else _published(OPEN_CLIP[written]))


def _published(name: str) -> tuple[str, ...]:
    from pipeline.torchvision_fix import ensure_torchvision

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
    templates = _about(index_folder).get("templates")
    if not templates:
        raise DataError(
            f"{index_folder / _ABOUT} names no templates, so there is no prompt set `{OWN}` for this data set. "
            "Write templates for it under prompts.sets in params.yaml."
        )
    return tuple(templates)


def _about(index_folder: Path) -> dict[str, Any]:
    return read_object(index_folder / _ABOUT)
