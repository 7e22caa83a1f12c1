"""The benchmark of unpaired rows: nothing that is held out gets in, and its methods are what they say."""

import numpy as np
import pytest
import torch

from benchmarks.unpaired import (
    Rows,
    by_image,
    fit_cca,
    fit_kernel,
    fit_kernel_covariance,
    moments_of,
    pseudo_captioned,
    texts_of_training,
    transport,
    transport_divergence,
)


def rows(pairs: int = 40, more: int = 60, noise: float = 0.1, seed: int = 0) -> Rows:
    """Pairs of a shared cause, two captions for some images, and rows of the same causes without partners."""
    draw = torch.Generator().manual_seed(seed)
    cause = torch.randn(pairs + more, 4, generator=draw)
    maps = torch.randn(4, 9, generator=draw), torch.randn(4, 7, generator=draw)
    x, y = (cause @ one + noise * torch.randn(len(cause), one.shape[1], generator=draw) for one in maps)
    image = torch.arange(pairs)
    image[1::5] = image[0:-1:5]
    x[:pairs] = x[:pairs][image]
    return Rows(x[:pairs], y[:pairs], image, torch.arange(pairs), x[pairs:], y[pairs:])


TEXTS = {
    "a": "A red kite.",
    "b": "kites at the beach",
    "c": "toy flown in the wind on a long string",  # a gloss of kite, without the word
    "d": "a piece of string",
    "e": "dog",
    "f": "barking animal",
    "g": "hound",
}


def test_no_text_of_what_is_held_out_gets_in_nor_what_a_task_joins_with_it() -> None:
    partners = [("c", "a"), ("f", "e"), ("g", "f")]
    assert texts_of_training(TEXTS, partners, ["kite", "a blue sky"]) == ["d", "e", "f", "g"]
    assert texts_of_training(TEXTS, partners, ["dogs"]) == ["a", "b", "c", "d"]  # g by way of f
    assert texts_of_training(TEXTS, [], []) == list(TEXTS)
    kept = texts_of_training(TEXTS, partners, ["STRINGS"])
    assert kept == ["b", "e", "f", "g"]  # a by way of its gloss


def test_without_unpaired_rows_the_statistics_are_those_of_the_pairs() -> None:
    given = rows(more=0)
    plain, both = moments_of(given, False), moments_of(given, True)
    torch.testing.assert_close(both.cov_xy, plain.cov_xy)
    torch.testing.assert_close(both.cov_yy, plain.cov_yy)
    assert not torch.allclose(both.cov_xx, plain.cov_xx)  # images count once there, and by captions here
    queries = torch.randn(5, 9)
    for fit in (fit_cca, fit_kernel):
        assert fit(given, False)[0](queries).shape[0] == 5


def test_statistics_of_a_side_are_of_all_its_rows_and_the_cross_covariance_of_pairs_alone() -> None:
    given = rows()
    found = moments_of(given, True)
    every = torch.cat([by_image(given)[0], given.more_x]).double().numpy()
    np.testing.assert_allclose(found.cov_xx.numpy(), np.cov(every.T, bias=True), rtol=1e-6)
    np.testing.assert_allclose(found.mean_x.numpy(), every.mean(0), rtol=1e-5, atol=1e-6)
    x, y = given.x.double().numpy(), given.y.double().numpy()
    np.testing.assert_allclose(found.cov_xy.numpy(), (x - x.mean(0)).T @ (y - y.mean(0)) / len(x), atol=1e-9)


def test_ridge_in_the_space_of_a_kernel_is_kernel_ridge_where_nothing_is_unpaired() -> None:
    given, queries = rows(more=0), torch.randn(6, 9)
    given = Rows(given.x, given.y, torch.arange(40), given.text, given.more_x, given.more_y)  # an image for each pair
    one, other = (fit(given, False)[0](queries) for fit in (fit_kernel, fit_kernel_covariance))
    torch.testing.assert_close(one, other, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_a_plan_has_the_marginals_and_is_optimal(epsilon: float) -> None:
    scores = torch.rand(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    plan, f, g = transport(scores, epsilon, 3000)
    torch.testing.assert_close(plan.exp().sum(0), torch.full((5,), 1 / 5).double())
    torch.testing.assert_close(plan.exp().sum(1), torch.full((7,), 1 / 7).double(), atol=1e-6, rtol=1e-6)
    value = (plan.exp() * scores).sum() - epsilon * (plan.exp() * plan).sum()
    independent = torch.full((7, 5), 1 / 35).double()
    assert value > (independent * scores).sum() - epsilon * (independent * independent.log()).sum()
    torch.testing.assert_close(plan, scores / epsilon + f[:, None] + g)


def test_the_divergence_has_the_gradient_of_the_unrolled_one_and_is_0_at_the_teacher() -> None:
    draw = torch.Generator().manual_seed(2)
    teacher = torch.rand(6, 6, dtype=torch.float64, generator=draw)
    scores = torch.rand(6, 6, dtype=torch.float64, generator=draw, requires_grad=True)
    target = transport(teacher, 0.3, 10)[0]
    direct = (target.exp() * (target - transport(scores, 0.3, 2000)[0])).sum()
    (unrolled,) = torch.autograd.grad(direct, scores)
    found = transport_divergence(scores, teacher, 0.3)
    assert float(found.detach()) == pytest.approx(float(direct.detach()), abs=1e-3)
    (slope,) = torch.autograd.grad(found, scores)
    torch.testing.assert_close(slope, unrolled, atol=2e-3, rtol=2e-2)
    assert float(transport_divergence(teacher, teacher, 0.3)) == pytest.approx(0, abs=1e-9)
    assert float(found.detach()) > 0


def test_an_unpaired_image_gets_the_texts_that_the_plan_gives_it_and_pairs_stay_as_they_are() -> None:
    given = rows(pairs=4, more=5)
    fitted: list[Rows] = []
    order = torch.tensor([3, 0, 4, 1, 2])

    def fit(seen: Rows, unpaired: bool) -> tuple[object, object]:
        assert not unpaired
        fitted.append(seen)
        return (lambda _: torch.eye(5)[order]), (lambda _: torch.eye(5))

    pseudo_captioned(given, fit, 0.01)  # type: ignore[arg-type]
    first, second = fitted
    assert first is given
    torch.testing.assert_close(second.y, torch.cat([given.y, given.more_y[order]]))
    torch.testing.assert_close(second.x, torch.cat([given.x, given.more_x]))
    assert len(torch.unique(second.image)) == len(torch.unique(given.image)) + 5
    assert not len(second.more_x)
    fitted.clear()
    pseudo_captioned(rows(more=0), fit, 0.01)  # type: ignore[arg-type]
    assert len(fitted) == 1
