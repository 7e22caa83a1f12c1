import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from pipeline.statistics import FamilyBootstrap, Repeats, WeightedMeanBootstrap, holm, spread


def clustered(rng: np.random.Generator, families: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes whose families have means of their own around 0.5."""
    effects = rng.normal(0.5, 0.3, families)
    family = np.repeat(np.arange(families), size)
    return family, effects[family] + rng.normal(0, 0.1, families * size)


def test_value_is_the_mean_of_items_or_of_groups() -> None:
    outcomes = np.array([1.0, 0.0, 0.0, 1.0])
    families = np.array(["a", "a", "b", "b"])
    assert FamilyBootstrap(families, 100, 0).value(outcomes) == 0.5
    groups = np.array(["x", "x", "x", "y"])
    assert FamilyBootstrap(families, 100, 0, groups).value(outcomes) == pytest.approx((1 / 3 + 1) / 2)


@pytest.mark.parametrize("grouped", [False, True])
def test_draws_agree_with_a_loop_over_resampled_items(grouped: bool) -> None:
    rng = np.random.default_rng(1)
    families, outcomes = rng.integers(0, 6, 40), rng.random(40)
    groups = rng.integers(0, 3, 40) if grouped else np.zeros(40, dtype=int)
    boot = FamilyBootstrap(families, 50, 3, groups if grouped else None)
    times = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=50)
    names = np.unique(families.astype(str))
    for draw, value in zip(times, boot.draws(outcomes), strict=True):
        items = [
            i
            for name, n in zip(names, draw, strict=True)
            for _ in range(n)
            for i in range(40)
            if families[i] == int(name)
        ]
        means = [np.mean([outcomes[i] for i in items if groups[i] == g]) for g in sorted({groups[i] for i in items})]
        assert value == pytest.approx(np.mean(means))


def test_intervals_of_clustered_data_cover_the_truth_where_naive_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    covered = naive = 0
    for trial in range(200):
        family, outcomes = clustered(rng, families=40, size=10)
        low, high = FamilyBootstrap(family, 300, trial).interval(outcomes) or (1, 0)
        covered += low <= 0.5 <= high
        low, high = FamilyBootstrap(np.arange(len(outcomes)), 300, trial).interval(outcomes) or (1, 0)
        naive += low <= 0.5 <= high
    assert 0.88 <= covered / 200 <= 0.99
    assert naive / 200 < 0.7


def test_pairing_cancels_what_both_systems_share() -> None:
    family, outcomes = clustered(np.random.default_rng(5), 30, 8)
    boot = FamilyBootstrap(family, 500, 0)
    compared = boot.compare(outcomes + 0.02, outcomes)
    assert compared.difference == pytest.approx(0.02)
    assert compared.interval == pytest.approx((0.02, 0.02))
    assert compared.excludes_zero
    low, high = boot.interval(outcomes) or (0, 0)
    assert high - low > 0.1


def test_a_system_does_not_differ_from_itself() -> None:
    family, outcomes = clustered(np.random.default_rng(6), 10, 3)
    compared = FamilyBootstrap(family, 200, 0).compare(outcomes, outcomes)
    assert compared.difference == 0
    assert not compared.excludes_zero
    assert compared.ratio == 1
    assert compared.ratio_interval == (1, 1)


def test_repeats_are_pooled_by_family() -> None:
    """Copies of the same families in a second repeat add no precision."""
    family, outcomes = clustered(np.random.default_rng(7), 20, 5)
    once = FamilyBootstrap(family, 400, 0).interval(outcomes)
    twice = FamilyBootstrap(np.tile(family, 2), 400, 0).interval(np.tile(outcomes, 2))
    assert once == pytest.approx(twice)


def test_degenerate_cases_claim_nothing() -> None:
    single = FamilyBootstrap(np.array(["a", "a"]), 100, 0)
    assert single.interval(np.array([0.0, 1.0])) is None
    assert not single.compare(np.array([1.0, 1.0]), np.array([0.0, 0.0])).excludes_zero
    zero = FamilyBootstrap(np.array(["a", "b"]), 100, 0).compare(np.array([1.0, 1.0]), np.zeros(2))
    assert zero.ratio is None
    assert zero.ratio_interval is None
    assert FamilyBootstrap(np.array(["a", "b"]), 100, 0).interval(np.zeros(2)) == (0.0, 0.0)
    unbounded = FamilyBootstrap(np.array(["a", "b"]), 100, 0).compare(np.ones(2), np.array([0.0, 1.0]))
    assert unbounded.ratio == 2
    assert unbounded.ratio_interval is None
    with pytest.raises(ValueError, match="no test items"):
        FamilyBootstrap(np.array([]), 100, 0)


def test_spread_over_repeats() -> None:
    assert spread([1.0, 2.0, 3.0]) == 1.0
    assert spread([1.0]) is None


def test_a_weighted_mean_takes_whole_families() -> None:
    rng = np.random.default_rng(4)
    families, outcomes, weights = rng.integers(0, 5, 30), rng.random(30), rng.random(30)
    boot = WeightedMeanBootstrap(families, 20, 6, weights)
    assert boot.value(outcomes) == pytest.approx(np.average(outcomes, weights=weights))
    times = np.random.default_rng(6).multinomial(5, np.full(5, 1 / 5), size=20)
    for draw, value in zip(times, boot.draws(outcomes), strict=True):
        assert value == pytest.approx(np.average(outcomes, weights=weights * draw[families]))
    alone = WeightedMeanBootstrap(np.zeros(30), 20, 6, weights)
    assert alone.interval(outcomes) is None


def test_repeats_are_told_apart_as_if_each_stood_alone() -> None:
    rng = np.random.default_rng(8)
    families, outcomes, repeat = rng.integers(0, 9, 120), rng.random(120), rng.integers(0, 3, 120)
    groups = rng.integers(0, 2, 120)
    boot = FamilyBootstrap(families, 40, 0, groups, repeat)
    found = boot.repeats(outcomes)
    assert found is not None
    assert found.shares == pytest.approx([np.mean(repeat == number) for number in range(3)])
    times = np.random.default_rng(0).multinomial(9, np.full(9, 1 / 9), size=40)
    for number in range(3):
        inside = repeat == number
        means = [outcomes[inside & (groups == group)].mean() for group in (0, 1)]
        assert found.values[number] == pytest.approx(np.mean(means))
        for draw, value in zip(times, found.draws[:, number], strict=True):
            weights = draw[families] * inside
            drawn = [
                np.average(outcomes, weights=weights * (groups == g)) for g in (0, 1) if weights[groups == g].any()
            ]
            assert value == pytest.approx(np.mean(drawn)) if drawn else np.isnan(value)


def test_repeats_that_differ_widen_an_interval_and_those_that_do_not_leave_it() -> None:
    rng = np.random.default_rng(9)
    family, repeat = np.tile(np.arange(300), 5), np.repeat(np.arange(5), 300)
    outcomes = rng.random(1500)
    plain = FamilyBootstrap(family, 2000, 0)
    level = FamilyBootstrap(family, 2000, 0, repeat=repeat)
    centred = outcomes - np.array([outcomes[repeat == number].mean() for number in range(5)])[repeat]
    assert level.interval(centred) == plain.interval(centred)
    shifted = centred + np.array([-0.2, -0.1, 0.0, 0.1, 0.2])[repeat]
    low, high = level.interval(shifted) or (0.0, 0.0)
    assert (high - low) / 2 == pytest.approx(2.78 * np.std([-0.2, -0.1, 0.0, 0.1, 0.2], ddof=1) / 5**0.5, rel=0.12), "t"
    one = FamilyBootstrap(family, 2000, 0, repeat=np.zeros(1500))
    assert one.repeats(shifted) is None
    assert one.interval(shifted) == plain.interval(shifted)


def test_an_effect_of_repeats_that_two_systems_share_cancels() -> None:
    rng = np.random.default_rng(10)
    family, repeat = np.tile(np.arange(200), 5), np.repeat(np.arange(5), 200)
    shift = np.array([-0.3, 0.3, 0.0, 0.2, -0.2])[repeat]
    first, second = rng.random(1000) + shift + 0.5, rng.random(1000) + shift
    boot = FamilyBootstrap(family, 1000, 0, repeat=repeat)
    low, high = boot.interval(first) or (0.0, 0.0)
    compared = boot.compare(first, second)
    assert compared.interval is not None
    assert compared.interval[1] - compared.interval[0] < (high - low) / 4
    assert compared.p is not None
    assert compared.p < 1e-6


def test_variance_between_repeats_by_families_alone() -> None:
    """Draws around the values vary by what families explain; a draw that lacks a repeat does not count."""
    draws = np.array([[1.0, 3.0], [2.0, 2.0], [np.nan, 5.0]])
    between, expected = Repeats(np.array([1.0, 2.0]), draws, np.array([0.5, 0.5])).variances()
    assert between == pytest.approx(0.5)
    assert expected == pytest.approx((np.var([0, 1], ddof=1) + np.var([1, 0], ddof=1)) / 2)
    nothing = Repeats(np.array([1.0, 2.0]), draws[2:], np.array([0.5, 0.5])).variances()
    assert nothing[1] == np.inf


def test_p_values_of_plain_means_are_those_of_a_paired_t_test() -> None:
    """With one item in each family the bootstrap's standard error is that of the mean, but for n against n - 1."""
    rng = np.random.default_rng(11)
    first, second = rng.normal(0.15, 1, 120), rng.normal(0, 1, 120)
    p = FamilyBootstrap(np.arange(120), 20000, 0).compare(first, second).p
    assert p == pytest.approx(ttest_rel(first, second).pvalue, abs=0.01)
    same = FamilyBootstrap(np.arange(120), 200, 0).compare(first, first)
    assert same.p == 1.0
    assert FamilyBootstrap(np.arange(120), 200, 0).compare(first + 1, first).p == pytest.approx(0.0)


def test_holms_correction_by_hand() -> None:
    """Of .01, .04, .03, .005 the least is taken four times, the next three times, two times, once; never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_stepping_down_rejects(p: list[float]) -> None:
    for level in (0.01, 0.05, 0.3):
        rejected = set()
        for rank, place in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
            if (len(p) - rank) * p[place] > level:
                break
            rejected.add(place)
        assert {place for place, value in enumerate(holm(p)) if value <= level} == rejected
