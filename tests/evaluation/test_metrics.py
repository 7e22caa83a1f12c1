from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import metrics
from pipeline.evaluation.metrics import chance_at, chance_median_rank, first_hit_ranks, hits_at, positive_counts

SCORES = np.array(
    [
        [0.9, 0.1, 0.2, 0.3],
        [0.8, 0.7, 0.1, 0.2],
        [0.4, 0.3, 0.2, 0.1],
        [0.1, 0.2, 0.3, 0.4],
    ]
)
DIAGONAL = np.stack([np.arange(4), np.arange(4)], axis=1)


def test_four_by_four_by_hand() -> None:
    ranks = first_hit_ranks(SCORES, np.eye(4), DIAGONAL)  # candidates are the axes: scores are SCORES itself
    assert ranks.tolist() == [1, 2, 3, 1]
    assert [hits_at(ranks, k).mean() for k in (1, 2, 3)] == [0.5, 0.75, 1.0]
    assert np.median(ranks) == 1.5


def test_four_by_four_transposed_by_hand() -> None:
    # column 2 is .2 .1 .2 .3: one better, and the tie counts as better
    assert first_hit_ranks(SCORES.T, np.eye(4), DIAGONAL).tolist() == [1, 1, 3, 1]


def test_any_of_several_right_candidates_is_a_hit() -> None:
    positives = np.array([[0, 1], [0, 3], [1, 0], [1, 2], [2, 3], [3, 0], [3, 3]])
    assert first_hit_ranks(SCORES, np.eye(4), positives).tolist() == [2, 1, 4, 1]
    assert positive_counts(positives, 4).tolist() == [2, 2, 1, 2]


def test_ties_count_against_the_system() -> None:
    assert first_hit_ranks(np.ones((4, 4)), np.eye(4), DIAGONAL).tolist() == [4, 4, 4, 4]
    assert first_hit_ranks(np.ones((1, 4)), np.eye(4), np.array([[0, 0], [0, 1]])).tolist() == [3]


def test_refuses_what_would_look_like_a_perfect_score() -> None:
    with pytest.raises(ValueError, match="finite"):
        first_hit_ranks(np.full((4, 4), np.nan), np.eye(4), DIAGONAL)
    with pytest.raises(ValueError, match="at least one positive"):
        first_hit_ranks(SCORES, np.eye(4), DIAGONAL[:3])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 12), st.integers(1, 40))
def test_ranks_agree_with_sorting_whatever_the_chunk(seed: int, queries: int, candidates: int, chunk: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, size=(queries, candidates)).astype(float)
    positives = np.stack([np.arange(queries), rng.integers(0, candidates, queries)], axis=1)
    positives = np.concatenate(
        [positives, np.stack([rng.integers(0, queries, 3), rng.integers(0, candidates, 3)], axis=1)]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "_CHUNK_SCORES", chunk)
        found = first_hit_ranks(scores, np.eye(candidates), rng.permutation(positives))
    for query in range(queries):
        good = set(positives[positives[:, 0] == query, 1].tolist())
        order = sorted(range(candidates), key=lambda c: (-scores[query, c], c in good))
        assert found[query] == 1 + next(i for i, c in enumerate(order) if c in good)


@pytest.mark.parametrize(
    ("rights", "candidates", "k"), [(1, 5, 1), (2, 6, 3), (3, 5, 2), (4, 5, 2), (2, 4, 9), (5, 5, 1)]
)
def test_chance_agrees_with_counting_all_draws(rights: int, candidates: int, k: int) -> None:
    draws = list(combinations(range(candidates), min(k, candidates)))
    expected = sum(any(item < rights for item in draw) for draw in draws) / len(draws)
    assert chance_at(np.array([rights]), candidates, k)[0] == pytest.approx(expected)


def test_random_scores_reach_the_chance_level() -> None:
    rng = np.random.default_rng(0)
    positives = np.array([[q, c] for q in range(2000) for c in range(1 + q % 3)])
    ranks = first_hit_ranks(rng.normal(size=(2000, 20)), np.eye(20), positives)
    expected = chance_at(positive_counts(positives, 2000), 20, 5).mean()
    assert abs(hits_at(ranks, 5).mean() - expected) < 0.04
    assert abs(np.median(ranks) - chance_median_rank(positive_counts(positives, 2000), 20)) <= 1


def test_chance_median_rank_with_one_right_candidate_is_the_middle() -> None:
    assert chance_median_rank(np.ones(3, dtype=np.int64), 101) == 51
