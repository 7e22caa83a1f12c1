"""Language codes: one form of BCP 47 for what data sets write in many ways."""

from collections.abc import Mapping
from functools import lru_cache

ENGLISH = "en"  # heads learn from English captions only; other languages come from the encoder


@lru_cache(maxsize=4096)
def language_code(written: str) -> str | None:
    """The code of a language, or None if it is not understood.

    BCP 47 as `langcodes` reads it: "EN", "eng" and "en_US" give "en", "iw" gives "he". The region is left out, since
    captions of en-US and en-GB are captions in English; a script that is not the usual one of the language stays, also
    one that follows from the region: "zh-TW" gives "zh-Hant", "sr-Latn" itself. The word "English" is taken as well.
    """
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    written = written.strip()
    if written.lower() == "english":
        return ENGLISH
    try:
        tag = Language.get(written.partition(".")[0])  # a locale may name an encoding: de_DE.UTF-8
        if not tag.is_valid() or tag.language is None:
            return None
    except LanguageTagError:
        return None
    usual = Language.make(language=tag.language).maximize().script
    script = tag.script or tag.maximize().script
    return tag.language if script == usual else f"{tag.language}-{script}"


def language_lines(texts: Mapping[str, int]) -> list[str]:
    """What a user should know of the languages of a data set, in lines; none if all texts are English.

    Args:
        texts: code -> number of texts.
    """
    lines = []
    if set(texts) - {ENGLISH}:
        counted = ", ".join(f"{number} {code}" for code, number in texts.items())
        lines.append(f"texts by language: {counted} (heads are trained on {ENGLISH} alone)")
    if unknown := [code for code in texts if language_code(code) is None]:
        named = ", ".join(f"{code!r} ({texts[code]} texts)" for code in unknown)
        lines.append(f"warning: no language codes of BCP 47, such as en, de or zh-Hant, and kept as they are: {named}")
    return lines
