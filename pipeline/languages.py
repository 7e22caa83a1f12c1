"""Language codes: one form of BCP 47 for what data sets and params.yaml write in many ways."""

import difflib
from collections.abc import Iterable, Mapping
from functools import lru_cache

ENGLISH = "en"  # heads learn from English captions only; other languages come from the encoder
NAMES = {  # English names, for which `langcodes` would need its data; those of multilingual benchmarks
    **{"arabic": "ar", "bengali": "bn", "bulgarian": "bg", "catalan": "ca", "chinese": "zh", "croatian": "hr"},
    **{"czech": "cs", "danish": "da", "dutch": "nl", "english": ENGLISH, "estonian": "et", "filipino": "fil"},
    **{"finnish": "fi", "french": "fr", "german": "de", "greek": "el", "hebrew": "he", "hindi": "hi"},
    **{"hungarian": "hu", "icelandic": "is", "indonesian": "id", "italian": "it", "japanese": "ja", "korean": "ko"},
    **{"latvian": "lv", "lithuanian": "lt", "malay": "ms", "maori": "mi", "norwegian": "no", "persian": "fa"},
    **{"polish": "pl", "portuguese": "pt", "quechua": "qu", "romanian": "ro", "russian": "ru", "serbian": "sr"},
    **{"slovak": "sk", "slovenian": "sl", "spanish": "es", "swahili": "sw", "swedish": "sv", "tamil": "ta"},
    **{"telugu": "te", "thai": "th", "turkish": "tr", "ukrainian": "uk", "urdu": "ur", "vietnamese": "vi"},
}
_KNOWN = frozenset(NAMES.values())


@lru_cache(maxsize=4096)
def language_code(written: str) -> str | None:
    """The code of a language, or None if it is not understood.

    BCP 47 as `langcodes` reads it: "EN", "eng" and "en_US" give "en", "iw" gives "he". The region is left out, since
    captions of en-US and en-GB are captions in English; a script that is not the usual one of the language stays, also
    one that follows from the region: "zh-TW" gives "zh-Hant", "sr-Latn" itself. English names are taken as well
    ("German"), of the languages in `NAMES`.
    """
    written = written.strip()
    if written in _KNOWN:
        return written
    if named := NAMES.get(written.lower()):
        return named
    from langcodes import Language
    from langcodes.tag_parser import LanguageTagError

    try:
        tag = Language.get(written.partition(".")[0])  # a locale may name an encoding: de_DE.UTF-8
        if not tag.is_valid() or tag.language is None:
            return None
    except LanguageTagError:
        return None
    usual = Language.make(language=tag.language).maximize().script
    script = tag.script or tag.maximize().script
    return tag.language if script == usual else f"{tag.language}-{script}"


def known_language(written: str) -> str:
    """The code of a language that params.yaml names.

    Raises:
        ValueError: it is none; the message has the most similar ones.
    """
    code = language_code(written)
    if code is None:
        near = difflib.get_close_matches(written.strip().lower(), [*NAMES, *_KNOWN], n=3, cutoff=0.6)
        meant = f"did you mean {' or '.join(near)}? It" if near else "it"
        raise ValueError(f"{written!r} is no language; {meant} may be a code of BCP 47, such as de, pt-BR or zh-Hant")
    return code


def known_dialect(written: str) -> str:
    """As `known_language`, but a region stays: "pt_BR" gives "pt-BR"; for sources with texts of several regions."""
    code = known_language(written)
    if written.strip() in _KNOWN or written.strip().lower() in NAMES:
        return code
    from langcodes import standardize_tag

    return standardize_tag(written.strip().partition(".")[0])


def among(written: str, available: Iterable[str]) -> str | None:
    """Which of the codes that a data set uses is meant: that one itself, or the only one of the same language."""
    codes = list(available)
    for one in codes:
        if one.lower().replace("_", "-") == written.strip().lower().replace("_", "-"):
            return one
    same = [one for one in codes if language_code(one) == (language_code(written) or written)]
    return same[0] if len(same) == 1 else None


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
