"""Of too many test images the same ones are evaluated in every run, and the result says how many."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.coded import Coded
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.evaluation import caption_sets
from pipeline.evaluation.sample import sample_note, sampled, sampled_repeats
from pipeline.statistics import family_draws
from tests.alignment.toy import World

IDS = [f"id{number % 70}" for number in range(100)]  # some images have two rows


def test_few_images_are_all_evaluated() -> None:
    ids, test = Coded.of(IDS), np.arange(100) % 3 > 0
    assert sampled(ids, test, 70) is test
    assert sample_note(ids, test[:, None], test[:, None], "mine") is None


def test_a_sample_has_whole_images_and_hardly_changes_as_images_come() -> None:
    ids, test = Coded.of(IDS), np.stack([np.arange(100) % 3 > 0, np.arange(100) > 5], axis=1)
    kept = sampled_repeats(ids, test, 20)
    assert not (kept & ~test).any()
    for repeat in range(2):
        chosen = {IDS[row] for row in np.flatnonzero(kept[:, repeat])}
        assert len(chosen) == 20
        assert kept[:, repeat].tolist() == [
            one in chosen and bool(t) for one, t in zip(IDS, test[:, repeat], strict=True)
        ]
    assert np.array_equal(kept, sampled_repeats(Coded.of(IDS), test, 20))
    before = {IDS[row] for row in np.flatnonzero(kept[:, 0])}
    longer = [*IDS, "new"]
    more = sampled(Coded.of(longer), np.append(test[:, 0], True), 20)
    assert len(before - {longer[row] for row in np.flatnonzero(more)}) <= 1
    note = sample_note(ids, test, kept, "mine")
    assert note == "mine: 20 of up to 70 test images of a repeat are evaluated, the first by a hash of their id"


def test_draws_of_families_do_not_depend_on_how_many_are_drawn_together() -> None:
    expected = np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=150)
    np.testing.assert_array_equal(family_draws(7, 150, 3), expected)
    assert family_draws(7, 150, 3) is family_draws(7, 150, 3)


def test_retrieval_takes_a_sample_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    World(tmp_path, families=16, concepts_per_family=2).write()
    pairs = read_caption_pairs(("emoji",), 2)
    whole: list[str] = []
    full = caption_sets.tested_by_repeat(pairs, 2, "emoji", whole)
    assert whole == []
    monkeypatch.setattr(caption_sets, "MOST_RETRIEVED", 3)
    said: list[str] = []
    few = caption_sets.tested_by_repeat(pairs, 2, "emoji", said)
    assert len(few) == 2
    for repeat, items in few.items():
        assert len(items.images) == 3
        assert set(items.images) < set(full[repeat].images)
        assert len(items.positives) == 3
    assert len(said) == 1
    assert said[0].startswith("emoji: 3 of up to")
