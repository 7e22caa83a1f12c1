"""Orders of families, nulls and calibrated scores, against plain loops and the public package of the method."""

import numpy as np
import pytest
import torch
from calibrated_similarity import calibrate as public_calibrate
from calibrated_similarity import calibrate_layers as public_calibrate_layers

from pipeline.similarity.calibration import against_null, calibrate, calibrate_best, calibrated, p_value, threshold
from pipeline.similarity.cka import unbiased_linear_cka
from pipeline.similarity.neighbours import mutual_knn, neighbour_weights
from pipeline.similarity.null import cka_null, knn_null
from pipeline.similarity.permutation import exchange_families, permutations


def features(seed: int, n: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, width))


def of_families(sizes: list[int]) -> np.ndarray:
    return np.repeat([f"f{number:03d}" for number in range(len(sizes))], sizes)


def structure_alone(sizes: list[int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spaces that share which samples form a family, and nothing else."""
    generator = np.random.default_rng(seed)
    x, y = (
        np.repeat(generator.normal(size=(len(sizes), 16)), sizes, axis=0)
        + 0.3 * generator.normal(size=(sum(sizes), 16))
        for _ in range(2)
    )
    return x, y, of_families(sizes)


def test_family_structure_passes_for_similarity_with_rows_and_not_with_families() -> None:
    sizes = [4] * 30
    by_rows, by_families = [], []
    for seed in range(12):
        x, y, families = structure_alone(sizes, seed)
        exchange = exchange_families(families)
        assert len(exchange.rows) == 120
        by_rows.append(calibrate(x, y, unbiased_linear_cka, permutations(120, 199, seed)))
        by_families.append(calibrate(x, y, unbiased_linear_cka, exchange.orders(199, seed)))
    assert {found.p for found in by_rows} == {0.005}
    assert np.mean([found.score for found in by_rows]) > 0.1
    assert np.mean([found.p for found in by_families]) > 0.25
    assert sum(found.p <= 0.05 for found in by_families) <= 3


def test_families_of_unequal_sizes_keep_the_level() -> None:
    """p is uniform where only structure is shared: as many p-values up to .2 as a fifth of the draws, within 3 sd."""
    sizes = [19, 12, 9, 8, 8, 5, 4, 4, 3, 3, 3, 3, *[2] * 9, *[1] * 40]
    below = 0
    for seed in range(60):
        x, y, families = structure_alone(sizes, seed)
        exchange = exchange_families(families)
        rows = exchange.rows
        below += calibrate(x[rows], y[rows], unbiased_linear_cka, exchange.orders(49, seed)).p <= 0.2
    assert below <= 12 + 3 * np.sqrt(60 * 0.2 * 0.8)


def test_shared_meaning_is_found_with_families() -> None:
    sizes = [6, 5, 4, 4, 3, 3, *[2] * 10, *[1] * 30]
    x, _, families = structure_alone(sizes, 0)
    y = x @ features(1, 16, 12) + features(2, len(x), 12)
    exchange = exchange_families(families)
    found = calibrate(x[exchange.rows], y[exchange.rows], unbiased_linear_cka, exchange.orders(99, 0))
    assert found.p == 0.01
    assert found.score > 0.3


def test_every_order_moves_whole_families_within_their_class() -> None:
    sizes = [9, 7, 6, 6, 5, 5, 5, 3, 2, 2, 1, 1, 1, 1]
    families = of_families(sizes)
    exchange = exchange_families(families)
    assert [(len(c), c.shape[1]) for c in exchange.classes] == [(7, 5), (7, 1)]
    kept = families[exchange.rows]
    orders = exchange.orders(50, seed=3)
    places = np.arange(len(kept))
    assert (np.sort(orders, axis=1) == places).all()
    for order in orders:
        for name in np.unique(kept):
            own = np.flatnonzero(kept == name)
            target = order[own]
            assert len(np.unique(kept[target])) == 1
            assert (np.diff(target) > 0).all()  # rows keep their place within the family
    moved = {(int(i), int(order[i])) for order in orders for i in places}
    assert len(moved) > 5 * len(kept) // 2  # of 5 or 7 possible targets each


def test_strata_are_not_mixed() -> None:
    families = of_families([2] * 6 + [1] * 12)
    strata = np.array(["a", "b"] * 6 + ["a"] * 6 + ["b"] * 6)
    exchange = exchange_families(families, strata)
    assert len(exchange.rows) == 24
    for order in exchange.orders(30, 0):
        assert (strata[order] == strata).all()


def test_one_family_cannot_be_exchanged() -> None:
    exchange = exchange_families(of_families([8]))
    assert (exchange.orders(3, 0) == np.arange(8)).all()


def test_nulls_equal_measuring_reordered_texts() -> None:
    images, texts = [features(i, 20, 5) + 2 for i in range(3)], [7 * features(9 + i, 20, 4) for i in range(2)]
    texts[0] = np.repeat(texts[0][:10], 2, axis=0)  # ties
    orders = permutations(20, 7, seed=0)
    found = cka_null(images, texts, orders)
    near = [[neighbour_weights(x, 3) for x in side] for side in (images, texts)]
    counted = knn_null(near[0], near[1], 3, orders)
    assert found.shape == counted.shape == (7, 3, 2)
    for p, order in enumerate(orders):
        for i, image in enumerate(images):
            for t, text in enumerate(texts):
                assert found[p, i, t] == pytest.approx(unbiased_linear_cka(image, text[order]), abs=1e-5)
                assert counted[p, i, t] == pytest.approx(mutual_knn(image, text[order], 3), abs=1e-6)


def test_calibration_equals_the_public_package() -> None:
    """calibrated-similarity 0.1.1 by the authors of the method, with the same orders as `perm_fn`."""
    x, y, families = structure_alone([3] * 20, 4)
    y[:, :4] += 0.3 * x[:, :4]
    layers = [x, x[:, :5] + features(1, 60, 5), features(2, 60, 3)]
    orders = exchange_families(families).orders(40, seed=1)

    def measure(a: torch.Tensor, b: torch.Tensor) -> float:
        return unbiased_linear_cka(a.numpy(), b.numpy())

    def replay() -> object:
        left = iter(orders)
        return lambda *_: torch.from_numpy(next(left))

    tensors = [torch.from_numpy(layer) for layer in layers]
    score, p, tau = public_calibrate(tensors[0], torch.from_numpy(y), measure, K=40, perm_fn=replay())
    mine = calibrate(x, y, unbiased_linear_cka, orders)
    assert (mine.score, mine.p, mine.threshold) == pytest.approx((float(score), float(p), float(tau)), abs=1e-6)
    score, p, tau = public_calibrate_layers(tensors, [torch.from_numpy(y)], measure, K=40, perm_fn=replay())
    mine = calibrate_best(layers, [y], unbiased_linear_cka, orders)
    assert (mine.score, mine.p, mine.threshold) == pytest.approx((float(score), float(p), float(tau)), abs=1e-6)


def test_the_best_of_many_layers_needs_the_null_of_the_best() -> None:
    """Independent spaces: of 12 layers one by one often passes .05, the best of them does not."""
    single = best = 0
    for seed in range(25):
        layers, y = [features(100 * seed + i, 40, 6) for i in range(12)], features(100 * seed + 99, 40, 6)
        null = cka_null(layers, [y], permutations(40, 99, seed))[:, :, 0]
        values = [unbiased_linear_cka(layer, y) for layer in layers]
        single += min(p_value(value, null[:, i]) for i, value in enumerate(values)) <= 0.05
        best += against_null(max(values), null.max(axis=1)).p <= 0.05
    assert single >= 8
    assert best <= 4


def test_p_values_and_calibration_by_hand() -> None:
    null = np.array([0.1, 0.2, 0.3, 0.4])
    assert p_value(0.5, null) == pytest.approx(1 / 5)
    assert p_value(0.3, null) == pytest.approx(3 / 5)
    assert threshold(0.5, np.arange(19) / 100) == 0.18  # of 20 values the 19th
    assert threshold(0.5, np.arange(9) / 100) == 0.5  # of 10 values the tenth: too few to be above it
    assert calibrated(0.6, 0.2) == pytest.approx(0.5)
    assert calibrated(0.1, 0.2) == 0.0
