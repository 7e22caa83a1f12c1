"""Median ranks under resampled families, against a loop over resampled items."""

import numpy as np
import pytest

from pipeline.evaluation import ranks as module
from pipeline.evaluation.ranks import MedianBootstrap


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_medians_agree_with_a_loop_over_resampled_items(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(module, "_CHUNK", chunk)
    rng = np.random.default_rng(0)
    families, ranks, repeat = rng.integers(0, 6, 50), rng.integers(1, 20, 50), rng.integers(0, 2, 50)
    boot = MedianBootstrap(families, 60, 3, repeat)
    assert boot.value(ranks) == np.median(ranks)
    times = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=60)
    by_repeat = boot.repeats(ranks)
    assert by_repeat is not None
    for place, (drawn, value) in enumerate(zip(times, boot.draws(ranks), strict=True)):
        assert value == np.median(np.repeat(ranks, drawn[families]))
        for number in range(2):
            inside = repeat == number
            assert by_repeat.draws[place, number] == np.median(np.repeat(ranks[inside], drawn[families[inside]]))
    assert by_repeat.values.tolist() == [np.median(ranks[repeat == number]) for number in range(2)]
    assert by_repeat.shares.sum() == pytest.approx(1)


def test_a_draw_without_items_of_a_repeat_has_no_median() -> None:
    boot = MedianBootstrap(np.array(["a", "b"]), 50, 0, np.array([0, 1]))
    found = boot.repeats(np.array([3, 7]))
    assert found is not None
    seen = boot.times > 0
    assert np.isnan(found.draws[~seen]).all()
    assert np.unique(found.draws[seen]).tolist() == [3.0, 7.0]
    assert MedianBootstrap(np.array(["a", "b"]), 50, 0, np.array([0, 0])).repeats(np.array([3, 7])) is None
