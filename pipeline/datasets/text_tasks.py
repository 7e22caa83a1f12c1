"""Tasks that score a text encoder by itself: sentence similarity and semantic search, from packages.

Similarity, as STS (Agirre et al. 2012): pairs with a graded likeness.
- `keyword similarity`: names of emoji; the likeness is the Jaccard index of their CLDR keywords.
- `gloss similarity`: glosses of WordNet's nouns; the likeness is that of their shortest path over hypernyms.
Half of the pairs are drawn among those that share a keyword, or a hypernym, the others among all.

Search, as in BEIR (Thakur et al. 2021): queries, and documents of which one is right.
- `keyword search`: the keywords of an emoji that its name does not hold; documents are names.
- `gloss search`: a gloss of WordNet; documents are words (a reverse dictionary).
- `translation search`: names in other languages; documents are the English names.
No likeness is a human judgement of these pairs: they are made from how lexicographers filed the words.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import TextTasksSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.emoji_packages import EmojiPackages
from pipeline.datasets.packages import WORDNET
from pipeline.datasets.tables import write_table
from pipeline.datasets.tally import Tally
from pipeline.datasets.wordnet import WordNet
from pipeline.errors import ConfigError, SourceError

TASKS_FILE = "tasks.parquet"
TASKS = pa.schema(
    [
        ("task", pa.string()),
        ("kind", pa.string()),  # similarity or search
        ("query", pa.string()),  # text_id; of similarity the first text
        ("document", pa.string()),  # text_id of the right document; of similarity the second text
        ("score", pa.float64()),  # of similarity the likeness, else 1
    ]
)
_LEFT_OUT = ("Flags",)  # groups of emoji whose names are those of countries
_WORD = re.compile(r"[^\W\d_]+")
_SHORTEST_GLOSS = 4  # words
Names = Mapping[Any, Mapping[str, Sequence[str]]]  # CLDR entries by code points


def index_text_tasks(spec: TextTasksSource, builder: IndexBuilder, folder: Path, downloads: Path) -> dict[str, Any]:
    """Add the texts of all tasks, write tasks.parquet into `folder`, and return the source's part of about.json.

    What is drawn depends on a hash of the texts and on nothing else.

    Raises:
        ConfigError: CLDR lacks a language, or English is named as one.
        SourceError: a package is missing or not as expected.
    """
    if "en" in spec.languages:
        raise ConfigError("`languages` of text tasks are those that are translated into English: leave out en.")
    packages = EmojiPackages(downloads)
    annotations = packages.annotations(("en", *spec.languages))
    kept = [c for c in annotations["en"] if packages.groups.get(c, _LEFT_OUT[0]) not in _LEFT_OUT]
    english = {code: annotations["en"][code] for code in kept}
    wordnet = WordNet.read(downloads)
    makers = {
        ("keyword similarity", "similarity"): keyword_similarity(english, spec.limit),
        ("gloss similarity", "similarity"): gloss_similarity(wordnet, spec.limit),
        ("keyword search", "search"): keyword_search(english, spec.limit),
        ("gloss search", "search"): gloss_search(wordnet, spec.limit),
        ("translation search", "search"): translation_search(english, annotations, spec),
    }
    rows = []
    for (task, kind), entries in makers.items():
        found = [
            {
                "task": task,
                "kind": kind,
                "query": builder.add_text(query, language, "task"),
                "document": builder.add_text(document, "en", "task"),
                "score": score,
            }
            for query, document, score, language in entries
        ]
        if not found:
            raise SourceError(f"The packages gave nothing for the task {task!r}.")
        rows += found
    write_table(pa.Table.from_pylist(rows, schema=TASKS), folder / TASKS_FILE)
    credits = {**packages.credits, WORDNET.name: {"version": WORDNET.version, "licence": WORDNET.licence}}
    tally = Tally(read=len(rows), used=len(rows), unit="queries and pairs")
    return {"packages": credits, "tasks": dict(makers.keys()), "tally": tally.as_dict()}


Entry = tuple[str, str, float, str]  # query, document, score, language of the query


def keyword_similarity(english: Names, limit: int) -> Iterator[Entry]:
    """`limit` pairs of names that share a keyword, and as many of any names."""
    named = {_name(entry): set(entry.get("default", ())) for entry in english.values()}
    order = _shuffled(named)
    for name in order[:limit]:
        near = [other for other in order if other != name and named[name] & named[other]]
        for other in (*_first(near, name), *_first([other for other in order if other != name], name + "?")):
            union = named[name] | named[other]
            yield name, other, len(named[name] & named[other]) / len(union) if union else 0.0, "en"


def gloss_similarity(wordnet: WordNet, limit: int) -> Iterator[Entry]:
    """`limit` pairs of glosses below one hypernym, and as many of any glosses."""
    groups = {above: [k for k in keys if _usable(wordnet, k)] for above, keys in wordnet.siblings().items()}
    near = {key: keys for keys in groups.values() if len(keys) > 1 for key in keys}
    order = _shuffled(near)
    for key in order[:limit]:
        some = [other for other in near[key] if other != key]
        for other in (*_first(some, key), *_first([other for other in order if other != key], key + "?")):
            similarity = wordnet.path_similarity(key, other)
            yield wordnet.nouns[key].gloss, wordnet.nouns[other].gloss, similarity, "en"


def keyword_search(english: Names, limit: int) -> Iterator[Entry]:
    """At least two keywords that are no words of the name, and the name."""
    queries = {}
    for entry in english.values():
        words = set(_WORD.findall(_name(entry).lower()))
        left = [k for k in entry.get("default", ()) if not words & set(_WORD.findall(k.lower()))]
        if len(left) > 1:
            queries[_name(entry)] = ", ".join(left)
    for name in _shuffled(queries)[:limit]:
        yield queries[name], name, 1.0, "en"


def gloss_search(wordnet: WordNet, limit: int) -> Iterator[Entry]:
    """A gloss, and the word that it explains."""
    usable = [key for key in wordnet.common if _usable(wordnet, key)]
    for key in _shuffled(usable)[:limit]:
        yield wordnet.nouns[key].gloss, wordnet.nouns[key].word, 1.0, "en"


def translation_search(english: Names, annotations: Mapping[str, Names], spec: TextTasksSource) -> Iterator[Entry]:
    """`limit` names in each of the languages, and the English name; names that are alike in both are left out."""
    by_name = {_name(entry): code for code, entry in english.items()}
    order = _shuffled(by_name)[: spec.limit]
    for language in spec.languages:
        for name in order:
            entry = annotations[language].get(by_name[name])
            if entry is not None and _name(entry).lower() != name.lower():
                yield _name(entry), name, 1.0, language


def _usable(wordnet: WordNet, key: str) -> bool:
    """A gloss of some length that does not hold the word itself."""
    noun = wordnet.nouns[key]
    words = _WORD.findall(noun.gloss.lower())
    return len(words) >= _SHORTEST_GLOSS and noun.word.islower() and not set(_WORD.findall(noun.word)) & set(words)


def _name(entry: Mapping[str, Sequence[str]]) -> str:
    return entry["tts"][0]


def _shuffled(keys: Mapping[str, Any] | Sequence[str]) -> list[str]:
    return sorted(keys, key=lambda key: hashlib.sha256(key.encode()).digest())


def _first(keys: Sequence[str], salt: str) -> list[str]:
    """One of the keys, drawn by a hash; none if there are none."""
    return [min(keys, key=lambda key: hashlib.sha256(f"{salt}:{key}".encode()).digest())] if keys else []
