"""Emoji: one concept, several drawing styles, names and keywords in many languages (Unicode CLDR)."""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from pipeline.config import EmojiSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.concepts import concept_key
from pipeline.datasets.emoji_packages import EmojiPackages
from pipeline.datasets.pictures import render_all
from pipeline.datasets.tally import Tally
from pipeline.errors import ConfigError, SourceError
from pipeline.progress import tqdm

Code = tuple[int, ...]  # code points


def index_emoji(spec: EmojiSource, builder: IndexBuilder, downloads: Path) -> dict[str, Any]:
    """Feed every concept that has an English name, a group and a drawing; returns the source's part of about.json.

    Concepts come in the order of their code points. A concept that a style lacks has fewer images; a name that a
    language lacks is skipped.

    Raises:
        ConfigError: an unknown language or group; the message lists the known ones.
        SourceError: a package is missing or not as expected, or no emoji is left.
    """
    packages = EmojiPackages(downloads)
    excluded = _known_groups(spec.exclude_groups, set(packages.groups.values()))
    annotations = packages.annotations(dict.fromkeys([*spec.languages, "en"]))
    drawings = {style: packages.drawings(style) for style in spec.styles}
    drawn = sorted({code for style in drawings.values() for code in style if code in annotations["en"]})
    for code in drawn:
        if code not in packages.groups:
            builder.fail(_key(code), f"{annotations['en'][code]['tts'][0]!r} belongs to no emoji group")
    kept = [code for code in drawn if code in packages.groups and packages.groups[code] not in excluded]
    wanted, kept = set(kept), kept[: spec.limit or None]
    tally = _tally(drawings.values(), set(drawn), wanted, set(kept), packages.groups)
    if not kept:
        raise SourceError("No emoji is left. Look at `exclude_groups`, `styles` and `languages` of this data set.")
    images_per_style = dict.fromkeys(spec.styles, 0)
    pictures = render_all(
        [drawings[style][code] for code in kept for style in spec.styles if code in drawings[style]], spec.size
    )
    for code in tqdm(kept, desc="emoji", unit="concept", mininterval=1):
        english = annotations["en"][code]
        name = english["tts"][0]
        captions = {language: annotations[language].get(code) for language in spec.languages}
        for style in spec.styles:
            if code not in drawings[style]:
                continue
            key = f"{style}/{_key(code)}"
            picture = next(pictures)
            if isinstance(picture, str):
                builder.fail(key, f"cannot be rendered: {picture}")
                tally.fail("cannot be rendered")
                continue
            tally.used += 1
            image = builder.add_image(picture, key, mask="alpha")
            images_per_style[style] += 1
            builder.label(image, concept_key(name), name, packages.groups[code].lower(), english.get("default", []))
            for language, entry in captions.items():
                if entry is not None:
                    builder.link(image, builder.add_text(entry["tts"][0], language), language)
    return {
        "packages": packages.credits,
        "languages": list(spec.languages),
        "images_per_style": images_per_style,
        "excluded_groups": sorted(excluded),
        "tally": tally.as_dict(),
    }


def _tally(
    styles: Iterable[Collection[Code]], named: set[Code], wanted: set[Code], kept: set[Code], groups: Collection[Code]
) -> Tally:
    """What becomes of every drawing before any is rendered."""
    tally = Tally(unit="drawings")
    for code in (code for style in styles for code in style):
        if code in kept:
            tally.read += 1
        elif code not in named:
            tally.left_out["no English name"] += 1
        elif code not in groups:
            tally.read += 1
            tally.fail("in no emoji group")
        else:
            tally.left_out["beyond `limit`" if code in wanted else "in `exclude_groups`"] += 1
    return tally


def _known_groups(asked: Iterable[str], groups: set[str]) -> set[str]:
    by_name = {group.lower(): group for group in groups}
    for group in asked:
        if group.lower() not in by_name:
            raise ConfigError(
                f"`exclude_groups` of the emoji names {group!r}; the groups are: {', '.join(sorted(groups))}."
            )
    return {by_name[group.lower()] for group in asked}


def _key(code: tuple[int, ...]) -> str:
    return "-".join(f"{number:x}" for number in code)
