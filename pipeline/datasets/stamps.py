"""Tux Paint stamps: photographs and drawings cut out exactly, with captions in many languages."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.config import StampsSource
from pipeline.datasets.audio.stamps import Stamp, StampSounds
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.concepts import caption_key, concept_name
from pipeline.datasets.packages import STAMPS, Unavailable, deb_members, fetch
from pipeline.datasets.pictures import Drawing, render_all
from pipeline.datasets.tally import Tally
from pipeline.errors import ConfigError, SourceError
from pipeline.progress import tqdm

log = logging.getLogger(__name__)

_ROOT = "usr/share/tuxpaint/stamps/"
_CAPTION = re.compile(r"([A-Za-z_@]+)\.utf8=(.*)")
_PICTURES = (".png", ".svg")  # if both exist, the PNG is used: it does not depend on a renderer
_FORMS = {"zh": ("zh_cn",), "zh-hant": ("zh_tw",), "pt": ("pt", "pt_br"), "no": ("nb", "nn")}  # else the code itself


def index_stamps(spec: StampsSource, builder: IndexBuilder, downloads: Path) -> dict[str, Any]:
    """Feed every stamp with a picture and an English caption; returns the source's part of about.json.

    If the package is unavailable, nothing is fed: `available` is false with the reason, and a warning is logged.

    Raises:
        ConfigError: an unknown category or language; the message lists the known ones.
        SourceError: the package is unavailable and `required` is true, or it is invalid.
    """
    about: dict[str, Any] = {
        "packages": {STAMPS.name: {"version": STAMPS.version, "licence": STAMPS.licence}},
        "languages": list(spec.languages),
    }
    try:
        package = fetch(STAMPS, downloads)
    except Unavailable as error:
        if spec.required:
            raise
        log.warning("warning: continuing WITHOUT the stamps; their index stays empty. %s", error)
        return {**about, "available": False, "reason": str(error)}
    heard = StampSounds(spec.effects, {form: language for language in spec.speech for form in _forms(language)})
    files = {
        name.removeprefix(_ROOT): content
        for name, content in deb_members(package, lambda name: name.startswith(_ROOT) and heard.may_need(name))
    }
    texts = sorted(name for name in files if name.endswith(".txt"))
    categories = {name.split("/")[0] for name in texts}
    unknown = set(spec.exclude_categories) - categories
    if unknown:
        raise ConfigError(
            f"`exclude_categories` of the stamps names {sorted(unknown)}; the categories are: {sorted(categories)}."
        )
    captions = {name: read_captions(files[name].decode("utf-8", errors="replace")) for name in texts}
    _check_languages(spec.languages, {form for caption in captions.values() for form in caption})
    kept = [name for name in texts if name.split("/")[0] not in spec.exclude_categories][: spec.limit or None]
    tally = Tally(read=len(kept), unit="stamps")
    excluded = sum(name.split("/")[0] in spec.exclude_categories for name in texts)
    beside = {"in `exclude_categories`": excluded, "beyond `limit`": len(texts) - excluded - len(kept)}
    tally.left_out.update({reason: number for reason, number in beside.items() if number})
    sources = {name: _source(name, files) for name in kept}
    usable = [name for name in kept if sources[name] is not None and captions[name].get("en")]
    pictures = dict(
        zip(usable, render_all([_drawing(sources[name], files) for name in usable], spec.size), strict=True)
    )
    stamps: list[Stamp] = []
    for name in tqdm(kept, desc="stamps", unit="stamp", mininterval=1):
        stem = str(PurePosixPath(name).with_suffix(""))
        if name not in pictures:
            reason = "no picture" if sources[name] is None else "no English caption"
            builder.fail(stem, reason)
            tally.fail(reason)
            continue
        picture, english = pictures[name], captions[name]["en"]
        if isinstance(picture, str):
            builder.fail(stem, f"cannot be rendered: {picture}")
            tally.fail("cannot be rendered")
            continue
        tally.used += 1
        image = builder.add_image(picture, stem, mask="alpha")
        label = caption_key(english), concept_name(english), name.split("/")[0]
        builder.label(image, *label)
        said = {code: caption for code in spec.languages if (caption := _in_language(captions[name], code))}
        for language, caption in said.items():
            builder.link(image, builder.add_text(caption, language), language)
        stamps.append(Stamp(stem, image, *label, said))
    if not builder.counts["images"]:
        raise SourceError("No stamp is left. Look at `exclude_categories` and `limit` of this data set.")
    if spec.effects or spec.speech:
        about["sounds"] = heard.index(files, stamps, builder)
    return {**about, "excluded_categories": sorted(spec.exclude_categories), "tally": tally.as_dict()}


def read_captions(text: str) -> dict[str, str]:
    """Captions by language code in lower case: the first line is English, later ones read `de.utf8=Eine Katze.`"""
    lines = text.lstrip("\ufeff").splitlines()
    captions = {"en": lines[0].strip()} if lines else {}
    for line in lines[1:]:
        if (match := _CAPTION.match(line)) and match[2].strip():
            captions[match[1].lower()] = match[2].strip()
    return captions


def _in_language(captions: dict[str, str], language: str) -> str | None:
    return next((captions[form] for form in _forms(language) if form in captions), None)


def _forms(language: str) -> tuple[str, ...]:
    """The codes that the stamps may use for a language, best first."""
    code = language.lower()
    return _FORMS.get(code, (code.replace("-", "_"),))


def _check_languages(asked: Iterable[str], available: set[str]) -> None:
    for language in asked:
        if not available.intersection(_forms(language)):
            raise ConfigError(
                f"`languages` of the stamps names {language!r}; the stamps have: {', '.join(sorted(available))}."
            )


def _source(name: str, files: Collection[str]) -> str | None:
    """The picture that belongs to a caption file."""
    stem = str(PurePosixPath(name).with_suffix(""))
    return next((stem + suffix for suffix in _PICTURES if stem + suffix in files), None)


def _drawing(source: str | None, files: Mapping[str, bytes]) -> Drawing:
    assert source is not None, "asked for stamps with a picture only"
    return files[source].decode("utf-8", errors="replace") if source.endswith(".svg") else files[source]
