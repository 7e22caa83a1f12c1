"""How often 95 % intervals hold the true value, by simulation at the sizes of the default: 5 repeats, 450 families."""

import numpy as np
import pytest

from benchmarks.coverage import WORLDS, Design, World, coverage
from pipeline.statistics import FamilyBootstrap

TRIALS = 1000
NOISE = 2 * (0.95 * 0.05 / TRIALS) ** 0.5  # of a share of so many trials, two standard errors


@pytest.mark.parametrize(
    "world", [WORLDS[0], WORLDS[2], WORLDS[5]], ids=lambda world: f"{world.name}-{world.repeat_effect}"
)
def test_intervals_hold_the_true_value_with_and_without_an_effect_of_repeats(world: World) -> None:
    held = coverage(world, TRIALS, seed=1, draws=500, per_class=False)
    assert all(0.93 - NOISE <= share <= 0.97 + NOISE for share in held.values()), held
    assert 0.93 <= np.mean(list(held.values())) <= 0.97, held


def test_families_alone_do_not_where_repeats_have_an_effect() -> None:
    held = coverage(WORLDS[5], 200, seed=1, level=False, draws=500, per_class=False)
    assert all(share < 0.88 for share in held.values()), held


@pytest.mark.parametrize("effect", [0.0, 1.0])
def test_p_values_of_systems_that_do_not_differ_are_below_a_level_as_often_as_it_says(effect: float) -> None:
    world, design, rng = WORLDS[4], Design(), np.random.default_rng(2)
    boot = FamilyBootstrap(design.family.astype(str), 500, 0, repeat=design.repeat)
    sd = effect * 0.014 * 5**0.5
    found = []
    for _ in range(500):
        first, second = (design.hits(world, sd, rng)[1] for _ in range(2))
        found.append(boot.compare(first, second).p or 0.0)
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.075
    assert np.mean(np.array(found) < 0.005) <= 0.015
