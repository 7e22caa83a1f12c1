"""Babel-ImageNet (Geigle et al. 2023, arXiv 2306.08658): the classes of ImageNet named in other languages.

Its file maps a language in capitals to two lists, numbers of classes and their names; a language has some of the
thousand classes. Numbers are those of ImageNet, which are those of CLIP_benchmark's `imagenet1k` and of sorted folders.
"""

import logging
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.datasets.cells import is_null, text_of
from pipeline.datasets.plain_files import MAX_LIST
from pipeline.datasets.raw_files import read_json
from pipeline.datasets.samples import Caption
from pipeline.errors import ConfigError, DataError, SourceError
from pipeline.languages import among

log = logging.getLogger(__name__)


def names_in_languages(path: Path, languages: Sequence[str], classes: int) -> list[list[Caption]]:
    """For each of the `classes` its names, as captions. Names that are null are left out, with a warning of how many.

    Args:
        languages: ISO codes; all available ones if empty. English is skipped: the data set has its own names.

    Raises:
        ConfigError: a language is not in the file.
        SourceError: the file does not have this form, or has more classes than `classes`.
    """
    content = read_json(path, limit=MAX_LIST)
    if not isinstance(content, dict):
        raise SourceError(f"{path}: expected a mapping of languages, found a {type(content).__name__}.")
    by_language: dict[str, list[Any]] = {}  # a code that is there in capitals and in small letters has two entries
    for code, entry in content.items():
        by_language.setdefault(str(code).lower(), []).append(entry)
    meant = {code: among(code, by_language) for code in languages}
    if unknown := [code for code, found in meant.items() if found is None]:
        raise ConfigError(f"`languages` names {unknown}, which {path} lacks; it has: {', '.join(sorted(by_language))}.")
    names: list[list[Caption]] = [[] for _ in range(classes)]
    chosen = dict.fromkeys(code for code in meant.values() if code) or sorted(by_language)
    for code, entry in [(one, entry) for one in chosen if one != "en" for entry in by_language[one]]:
        try:
            numbers, words = entry
            pairs = [
                (operator.index(number), text_of(word, f"the name of class {number}"))
                for number, word in zip(numbers, words, strict=True)
                if not is_null(word)
            ]
        except (TypeError, ValueError, DataError) as error:
            raise SourceError(f"{path}: {code} should have a list of numbers and one of names: {error}.") from error
        if len(pairs) < len(words):
            log.warning("%s: %d names of classes in %s are null and left out", path, len(words) - len(pairs), code)
        for number, word in pairs:
            if not 0 <= number < classes:
                raise SourceError(f"{path}: {code} names class {number}, but the data set has 0 to {classes - 1}.")
            names[number].append(Caption(word, code))
    return names
