"""Text tasks from small dictionaries in the packages' own formats: likenesses and answers by hand."""

import json
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from pipeline.config import TextTasksSource
from pipeline.datasets.index import build_index
from pipeline.datasets.text_tasks import (
    gloss_search,
    gloss_similarity,
    keyword_search,
    keyword_similarity,
    translation_search,
)
from pipeline.datasets.wordnet import WordNet

LICENCE = "  1 This software and database is being provided to you\n"
DATA = LICENCE + (
    "00000001 03 n 01 entity 0 000 | that which is known to have its own existence\n"
    '00000002 05 n 02 animal 0 beast 0 001 @ 00000001 n 0000 | a living organism that can move by itself; "a pet"\n'
    "00000003 05 n 01 cat 0 001 @ 00000002 n 0000 | feline mammal that purrs and hunts at night\n"
    "00000004 05 n 01 dog 0 001 @ 00000002 n 0000 | a domesticated member of the genus Canis\n"
    "00000005 05 n 01 Rex 0 001 @i 00000004 n 0000 | a famous one that was seen on television\n"
    "00000006 06 n 01 chair 0 002 @ 00000001 n 0000 ~ 00000003 n 0000 | a seat for one person with a back\n"
)
INDEX = LICENCE + (
    "animal n 1 1 @ 1 3 00000002\n"
    "cat n 2 1 @ 2 2 00000003 00000006\n"
    "chair n 1 2 @ ~ 1 1 00000006\n"
    "dog n 1 1 @ 1 9 00000004\n"
    "rex n 1 1 @ 1 0 00000005\n"
    "sofa_bed n 1 1 @ 1 4 00000006\n"
)
WORDNET = WordNet(DATA, INDEX)


def test_wordnets_files_are_read_as_wndb_describes_them() -> None:
    assert WORDNET.nouns["00000002"].word == "animal"
    assert WORDNET.nouns["00000002"].gloss == "a living organism that can move by itself"
    assert WORDNET.nouns["00000006"].hypernyms == ("00000001",)
    assert WORDNET.nouns["00000005"].hypernyms == ("00000004",)  # of an instance
    assert WORDNET.common == ("00000002", "00000003", "00000006", "00000004")  # tagged single words, first senses
    assert WORDNET.siblings() == {"00000001": ["00000002", "00000006"], "00000002": ["00000003", "00000004"]}


@pytest.mark.parametrize(
    ("first", "second", "edges"),
    [("cat", "cat", 0), ("cat", "animal", 1), ("cat", "dog", 2), ("cat", "chair", 3), ("Rex", "chair", 4)],
)
def test_path_similarity(first: str, second: str, edges: int) -> None:
    key = {noun.word: key for key, noun in WORDNET.nouns.items()}
    assert WORDNET.path_similarity(key[first], key[second]) == pytest.approx(1 / (1 + edges))
    assert WORDNET.path_similarity(key[second], key[first]) == pytest.approx(1 / (1 + edges))


def test_glosses_are_paired_with_siblings_and_with_any() -> None:
    entries = list(gloss_similarity(WORDNET, 10))
    assert len(entries) == 8  # animal, chair, cat and dog, each with one of either kind
    gloss = {noun.gloss: noun.word for noun in WORDNET.nouns.values()}
    near = {gloss[first]: (gloss[second], score) for first, second, score, _ in entries[::2]}
    assert near == {
        "cat": ("dog", pytest.approx(1 / 3)), "dog": ("cat", pytest.approx(1 / 3)),
        "animal": ("chair", pytest.approx(1 / 3)), "chair": ("animal", pytest.approx(1 / 3)),
    }  # fmt: skip
    assert all(first != second for first, second, _, _ in entries)


def test_a_gloss_asks_for_its_word() -> None:
    assert ("feline mammal that purrs and hunts at night", "cat", 1.0, "en") in list(gloss_search(WORDNET, 10))


ENGLISH = {
    (1,): {"tts": ["red apple"], "default": ["fruit", "red", "food"]},
    (2,): {"tts": ["pear"], "default": ["fruit", "food"]},
    (3,): {"tts": ["violin"], "default": ["music", "instrument", "string"]},
    (4,): {"tts": ["bare"]},
}


def test_likeness_of_names_is_the_jaccard_index_of_keywords() -> None:
    scores = {(first, second): score for first, second, score, _ in keyword_similarity(ENGLISH, 10)}
    assert scores["red apple", "pear"] == pytest.approx(2 / 3)
    assert scores["pear", "red apple"] == pytest.approx(2 / 3)
    assert {score for pair, score in scores.items() if set(pair) != {"red apple", "pear"}} == {0.0}


def test_keywords_that_are_words_of_the_name_are_no_query() -> None:
    found = {name: query for query, name, _, _ in keyword_search(ENGLISH, 10)}
    assert found == {"red apple": "fruit, food", "pear": "fruit, food", "violin": "music, instrument, string"}


def test_translations_ask_for_the_english_name_unless_they_are_the_same() -> None:
    german = {(1,): {"tts": ["roter Apfel"]}, (2,): {"tts": ["Pear"]}}
    spec = TextTasksSource(source="text-tasks", languages=("de",), limit=10)
    assert list(translation_search(ENGLISH, {"de": german}, spec)) == [("roter Apfel", "red apple", 1.0, "de")]


def test_the_same_dictionaries_give_the_same_tasks() -> None:
    assert list(keyword_similarity(ENGLISH, 2)) == list(keyword_similarity(dict(reversed(ENGLISH.items())), 2))


def test_an_index_of_tasks_says_which_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    german = {(1,): {"tts": ["roter Apfel"]}, (2,): {"tts": ["Birne"]}}
    packages = SimpleNamespace(
        annotations=lambda languages: dict(zip(languages, (ENGLISH, german), strict=True)),
        groups=dict.fromkeys(ENGLISH, "Food"),
        credits={},
    )
    monkeypatch.setattr("pipeline.datasets.text_tasks.EmojiPackages", lambda _: packages)
    monkeypatch.setattr(WordNet, "read", lambda _: WORDNET)
    spec = TextTasksSource(source="text-tasks", languages=("de",), limit=10)
    about = build_index(spec, tmp_path / "index", tmp_path / "downloads")
    tasks = json.loads((tmp_path / "index" / "about.json").read_text(encoding="utf-8"))["tasks"]
    assert about["tasks"] == tasks
    rows = pq.read_table(tmp_path / "index" / "tasks.parquet").to_pylist()
    assert {row["task"]: row["kind"] for row in rows} == tasks
    assert {row["score"] for row in rows if row["kind"] == "search"} == {1.0}
