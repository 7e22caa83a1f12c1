"""What is told to be a copy, of a pool or of an evaluation set, and what is wrong with captions: planted and found."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from pipeline.curation.captions import length_in_words, normalised, not_latin, repeated
from pipeline.curation.duplicates import grouped, near_pairs, same_values, semantic_duplicates
from pipeline.curation.keywords import Entries, cap
from pipeline.curation.leaks import Leaks, leaks_by_features, leaks_by_hash, leaks_by_name
from pipeline.curation.perceptual import (
    CUTS,
    copied_pairs,
    cut_hashes,
    flat,
    hash_pairs,
    hashes_of,
    perceptual_hash,
)
from pipeline.curation.vectors import PoolVectors
from tests.curation.test_streamed import InMemory


def drawing(seed: int) -> Image.Image:
    """A few coloured shapes on white."""
    generator = np.random.default_rng(seed)
    picture = Image.new("RGB", (96, 96), "white")
    for _ in range(5):
        x, y, w, h = generator.integers(5, 60, size=4).tolist()
        picture.paste(tuple(generator.integers(0, 220, size=3).tolist()), (x, y, x + w // 2 + 8, y + h // 2 + 8))
    return picture


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


CHANGES = {
    "resized": lambda picture: picture.resize((61, 61)),
    "re-encoded": lambda picture: jpeg(picture, 40),
    "recoloured": lambda picture: ImageEnhance.Color(picture).enhance(0.3),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_has_nearly_the_same_hash_and_others_have_not(change: str) -> None:
    pictures = [drawing(seed) for seed in range(40)]
    ours, theirs = hashes_of(pictures), hashes_of(CHANGES[change](picture) for picture in pictures)
    one, other = hash_pairs(theirs, 8, ours)
    assert {(row, row) for row in range(40)} <= set(zip(one.tolist(), other.tolist(), strict=True))
    assert (one != other).sum() <= 2


def test_a_cropped_picture_is_near_a_cut_of_its_original() -> None:
    pictures = [drawing(seed) for seed in range(30)]
    boxes = [(3 + seed % 5, seed % 8, 90 + seed % 5, 87 + seed % 8) for seed in range(30)]
    cropped = [picture.crop(box) for picture, box in zip(pictures, boxes, strict=True)]
    cuts = np.array([cut_hashes(picture) for picture in [*pictures, *cropped]], np.uint64)
    assert cuts.shape == (60, CUTS)
    np.testing.assert_array_equal(cuts[:30, 0], hashes_of(pictures))
    pairs = set(zip(*(side.tolist() for side in copied_pairs(cuts, 8)), strict=True))
    found = [(row, row + 30) in pairs for row in range(30)]
    whole = set(zip(*(side.tolist() for side in hash_pairs(cuts[:, 0], 8)), strict=True))
    assert np.mean(found) > 0.9 > np.mean([(row, row + 30) in whole for row in range(30)])
    assert all(one < other for one, other in pairs)
    assert len([pair for pair in pairs if pair[1] - pair[0] != 30]) <= 3
    assert leaks_by_hash(cuts[30:, 0], cuts[:30], 8).of.tolist().count(-1) <= 3
    tiny = cut_hashes(Image.new("RGB", (3, 1), "white"))  # nothing can be cut off
    assert len(tiny) == CUTS


def test_an_empty_picture_is_flat() -> None:
    hashes = hashes_of([Image.new("RGB", (40, 40), "white"), drawing(1)])
    assert flat(hashes).tolist() == [True, False]
    assert flat(np.zeros(1, np.uint64)).all()
    assert perceptual_hash(drawing(1)) == int(hashes[1])


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_pairs_of_hashes_are_those_of_all_comparisons(data: st.DataObject) -> None:
    base = data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6))
    flips = data.draw(st.lists(st.lists(st.integers(0, 63), max_size=9), min_size=1, max_size=12))
    hashes = [base[place % len(base)] for place in range(len(flips))]
    for place, bits in enumerate(flips):
        for bit in bits:
            hashes[place] ^= 1 << bit
    most = data.draw(st.integers(0, 8))
    ours = np.array(hashes, np.uint64)
    distance = np.array([[(a ^ b).bit_count() for b in hashes] for a in hashes])
    one, other = hash_pairs(ours, most)
    expected = [(a, b) for a in range(len(hashes)) for b in range(a + 1, len(hashes)) if distance[a, b] <= most]
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == expected
    one, other = hash_pairs(ours[: len(ours) // 2], most, ours)
    near = np.argwhere(distance[: len(ours) // 2] <= most)
    assert list(zip(one.tolist(), other.tolist(), strict=True)) == [tuple(pair) for pair in near.tolist()]


def copies(seed: int, rows: int, groups: int) -> tuple[PoolVectors, np.ndarray]:
    """Rows of which some are nearly those of others, and the group of each."""
    generator = np.random.default_rng(seed)
    of = generator.integers(groups, size=rows)
    values = generator.normal(size=(groups, 32))[of] + 0.02 * generator.normal(size=(rows, 32))
    return PoolVectors({"one": InMemory(values.astype(np.float32))}), of


@pytest.mark.parametrize("exhaustive", [1000, 50])
def test_near_copies_are_grouped_whether_all_pairs_are_taken_or_clusters(exhaustive: int) -> None:
    pool, of = copies(0, 200, 60)
    found = grouped(200, *near_pairs(pool, 0.98, exhaustive=exhaustive))
    kept = [of[row] for row in np.flatnonzero(found.first)]
    assert sorted(kept) == sorted(set(of.tolist()))  # one of each group is left
    assert all(of[row] == of[first] for row, first in enumerate(found.of))


def test_groups_join_chains_and_equal_keys() -> None:
    assert grouped(5, np.array([3, 1]), np.array([4, 3])).of.tolist() == [0, 1, 2, 1, 1]
    assert grouped(2, np.empty(0, int), np.empty(0, int)).first.all()
    assert same_values(np.array([7, 3, 7, 3, 5])).of.tolist() == [0, 1, 0, 1, 4]


def test_semdedup_keeps_one_of_each_group_the_least_typical() -> None:
    pool, of = copies(1, 150, 20)
    dropped = semantic_duplicates(pool, 4, 0.98, seed=0)
    assert sorted(of[~dropped].tolist()) == sorted(set(of.tolist()))
    np.testing.assert_array_equal(dropped, semantic_duplicates(pool, 4, 0.98, seed=0))
    assert not semantic_duplicates(pool, 4, 1.01, seed=0).any()


def test_copies_of_evaluation_pictures_are_found_with_the_picture_they_copy() -> None:
    generator = np.random.default_rng(0)
    evaluation = generator.normal(size=(30, 32)).astype(np.float32)
    evaluation /= np.linalg.norm(evaluation, axis=1, keepdims=True)
    values = generator.normal(size=(500, 32)).astype(np.float32)
    planted = np.array([4, 77, 300, 301])
    values[planted] = 3 * evaluation[[2, 2, 29, 5]] + 0.01
    found = leaks_by_features(PoolVectors({"one": InMemory(values)}), evaluation, 0.95)
    assert np.flatnonzero(found.of >= 0).tolist() == planted.tolist()
    assert found.of[planted].tolist() == [2, 2, 29, 5]
    assert (found.score[planted] >= 0.95).all()


def test_more_copies_than_are_looked_at_first_are_all_found() -> None:
    evaluation = np.eye(8, dtype=np.float32)[:2]
    values = np.tile(evaluation[:1], (700, 1))
    found = leaks_by_features(PoolVectors({"one": InMemory(values)}), evaluation, 0.9)
    assert (found.of == 0).all()


def test_leaks_by_hash_and_by_name_are_joined() -> None:
    hashes = hashes_of([drawing(seed) for seed in range(5)])
    evaluation = np.concatenate([np.zeros(1, np.uint64), hashes[1:4]])[:, None]
    by_hash = leaks_by_hash(hashes[[3, 0, 1]], evaluation, 2)
    assert by_hash.of.tolist() == [3, -1, 1]
    assert leaks_by_hash(np.zeros(2, np.uint64), np.zeros((1, 1), np.uint64), 2).of.tolist() == [-1, -1]
    by_name = leaks_by_name(["a", "b", "c"], ["c", "x", "c"])
    assert by_name.of.tolist() == [-1, -1, 0]
    joined = by_hash.joined(Leaks(by_name.of, by_name.score))
    assert joined.of.tolist() == [3, -1, 1]


def test_repeated_captions_are_dropped_up_to_numbers_and_capitals() -> None:
    texts = ["Photo 12 of 90", "photo 7 of 3!", "a red kite", "Photo 1 of 1", "a red kite", "a dog"]
    assert repeated(texts, 2).tolist() == [True, True, False, True, False, False]
    assert normalised("Photo 12, of 90") == "photo 0 of 0"
    assert repeated([], 2).tolist() == []


def test_lengths_and_scripts() -> None:
    assert length_in_words(["", "a dog", "it's a well-known dog"]).tolist() == [0, 2, 4]
    assert not_latin(["un café", "собака", "12", "犬 dog犬犬犬"]).tolist() == [False, True, False, True]


def test_entries_are_found_as_whole_words() -> None:
    entries = Entries(["Dog", "hot dog", "cat", "  ", "dog"])
    assert entries.matches("A hot DOG, and a catalogue") == [0, 1]
    assert entries.matches("cats") == []


def test_metaclip_caps_the_frequent_and_keeps_the_rare() -> None:
    matches = [[0]] * 50 + [[0, 1]] * 3 + [[]] * 2
    ids = [f"id{number}" for number in range(55)]
    capped = cap(matches, ids, 3, 10, seed=0)
    assert capped.counts.tolist() == [53, 3, 0]
    assert capped.kept[50:53].all()  # they name something rare as well
    assert 10 <= capped.after[0] <= 13
    assert capped.unmatched == 2
    assert not capped.kept[53:].any()
    np.testing.assert_array_equal(capped.kept, cap(matches, ids, 3, 10, seed=0).kept)
    assert (capped.kept != cap(matches, ids, 3, 10, seed=1).kept).any()
