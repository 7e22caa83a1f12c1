import numpy as np
import pytest

from pipeline.statistics import FamilyBootstrap, WeightedMeanBootstrap, spread


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
