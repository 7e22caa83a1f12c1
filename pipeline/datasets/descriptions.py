"""Sentences that describe each class, in place of templates: visual descriptions from a language model, or glosses."""

from pathlib import Path

from pipeline.datasets.plain_files import MAX_LIST
from pipeline.datasets.raw_files import read_json
from pipeline.errors import SourceError


def read_descriptions(path: Path) -> dict[str, list[str]]:
    """Sentences by class name, from a JSON file `{"tench": ["a fish with ...", ...], ...}`.

    Raises:
        SourceError: the file does not have this form, or a class has no sentence.
    """
    content = read_json(path, limit=MAX_LIST)
    if not isinstance(content, dict) or not content:
        raise SourceError(f"{path}: expected a mapping of class names to lists of sentences.")
    for name, sentences in content.items():
        fitting = isinstance(sentences, list) and sentences and all(isinstance(s, str) and s.strip() for s in sentences)
        if not fitting:
            raise SourceError(f"{path}: class {name!r} should have a list of sentences, found {str(sentences)[:80]!r}.")
    return {str(name): [sentence.strip() for sentence in sentences] for name, sentences in content.items()}
