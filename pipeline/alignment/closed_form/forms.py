"""Closed forms by kind: from training statistics to heads, one for every combination of the values that a form gives.

Shapes: X and Y the widths of image and text vectors, M features of a kernel.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from torch import Tensor, nn

from pipeline.alignment.closed_form.kernel import gamma_of, kernel_ridge
from pipeline.alignment.closed_form.linear import Canonical, procrustes, ridge, solve_lifted
from pipeline.alignment.closed_form.statistics import TrainingStatistics, source_of
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.fitted import RBF, Affine, Fourier, Relative
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.config import ASIF, CCA, AnyForm, ImageVector, KernelRidge, Procrustes, Ridge

Values = dict[str, float]
Sides = tuple[Sequence[nn.Module], Sequence[nn.Module]]  # what is applied to images, and to texts


@dataclass(frozen=True)
class Form:
    """How a closed form is computed and what it is made of.

    Attributes:
        fit: its sides and the values that they were fitted with, in the order in which these are written.
        empty: the same modules without numbers, for a saved head to be loaded into.
    """

    fit: Callable[[Any, TrainingStatistics], Iterator[tuple[Sides, Values]]]
    empty: Callable[[Any], Sides]


def candidates(
    form: AnyForm, image_input: ImageVector, statistics: TrainingStatistics
) -> Iterator[tuple[Head, Values]]:
    """Heads in evaluation mode, and the values that they were fitted with."""
    for (image, text), values in FORMS[form.kind].fit(form, statistics):
        if statistics.standing:  # a regression is fitted to centred texts; its sum with their mean is in the space
            image, text = [*image, Affine(-statistics.moments.mean_y)], []
        yield TwoNetworks(image_input, nn.Sequential(*image), nn.Sequential(*text)).eval(), values


def empty_form(form: AnyForm, image_input: ImageVector, choices: Mapping[str, Any], standing: bool = False) -> Head:
    """The head of a form with nothing in it yet.

    Args:
        choices: what fitting decided where the form left it open.
        standing: whether it is a map into a space that stands.
    """
    image, text = FORMS[form.kind].empty(form.model_copy(update=dict(choices)))
    if standing:
        image, text = [*image, Affine()], []
    return TwoNetworks(image_input, nn.Sequential(*image), nn.Sequential(*text))


def _procrustes(form: Procrustes, statistics: TrainingStatistics) -> Iterator[tuple[Sides, Values]]:
    before = statistics.whitenings
    maps = procrustes(statistics.moments.mapped(*before), form.embed_dim)
    yield _linear(statistics, [_then(first, then) for first, then in zip(before, maps, strict=True)]), {}


def _cca(form: CCA, statistics: TrainingStatistics) -> Iterator[tuple[Sides, Values]]:
    for shrink in form.shrink:
        directions = Canonical(statistics.moments, shrink)
        for power in form.power:
            yield _linear(statistics, directions.maps(power, form.embed_dim)), {"shrink": shrink, "power": power}


def _ridge(form: Ridge, statistics: TrainingStatistics) -> Iterator[tuple[Sides, Values]]:
    source, moments = source_of(form), statistics.moments.mapped(*statistics.whitenings)
    for penalty in form.ridge:
        maps = list(statistics.whitenings)
        maps[source] = _then(maps[source], ridge(moments.swapped() if source else moments, penalty))
        yield _linear(statistics, maps), {"ridge": penalty}


def _then(first: Tensor | None, then: Tensor) -> Tensor:
    return then if first is None else first @ then


def _linear(statistics: TrainingStatistics, maps: Sequence[Tensor | None]) -> Sides:
    return [Affine(statistics.moments.mean_x, maps[0])], [Affine(statistics.moments.mean_y, maps[1])]


def _kernel_ridge(form: KernelRidge, statistics: TrainingStatistics) -> Iterator[tuple[Sides, Values]]:
    source = source_of(form)
    means = statistics.moments.mean_x, statistics.moments.mean_y
    target = Affine(means[1 - source], statistics.whitenings[1 - source])
    for bandwidth in form.bandwidth:
        if form.features == "exact":
            fitted = _exact(source, bandwidth, form.ridge, target, statistics)
        else:
            fitted = (_streamed(form, bandwidth, penalty, statistics) for penalty in form.ridge)
        for penalty, solved in zip(form.ridge, fitted, strict=True):
            predicted = [statistics.inputs[source], *solved]
            sides: Sides = (predicted, [target]) if source == 0 else ([target], predicted)
            yield sides, {"bandwidth": bandwidth, "ridge": penalty}


def _exact(
    source: int, bandwidth: float, penalties: Sequence[float], target: Affine, statistics: TrainingStatistics
) -> Iterator[tuple[nn.Module, Affine]]:
    """For every penalty, with one kernel matrix."""
    assert statistics.rows is not None
    *sides, weight = statistics.rows
    x = statistics.inputs[source](sides[source])
    kernel = RBF(x, gamma_of(x.var(0), bandwidth))
    kernel_nn, wanted = kernel(x), target(sides[1 - source])
    for penalty in penalties:
        solved = kernel_ridge(kernel_nn, wanted, penalty, weight)
        yield kernel, Affine(solved.new_zeros(len(solved)), solved)


def _streamed(
    form: KernelRidge, bandwidth: float, penalty: float, statistics: TrainingStatistics
) -> tuple[nn.Module, Affine]:
    features, root, raw = statistics.features(form, bandwidth)
    moments = raw.mapped(root, statistics.whitenings[1 - source_of(form)])
    # the penalty of the exact form, which is on a sum over rows and not on their mean
    solved = solve_lifted(moments.cov_xx, moments.cov_xy, penalty / moments.count)
    return features, Affine(raw.mean_x, solved if root is None else root @ solved)


def _asif(form: ASIF, statistics: TrainingStatistics) -> Iterator[tuple[Sides, Values]]:
    assert statistics.rows is not None
    missing = statistics.most_images - len(statistics.rows[0])  # zeros, so that all repeats have as many anchors
    anchors = [
        nn.functional.pad(inputs(rows), (0, 0, 0, missing))
        for inputs, rows in zip(statistics.inputs, statistics.rows[:2], strict=True)
    ]
    for neighbours, exponent in product(form.neighbours, form.exponent):
        image, text = (
            [inputs, Relative(rows, neighbours, exponent)]
            for inputs, rows in zip(statistics.inputs, anchors, strict=True)
        )
        yield (image, text), {"neighbours": neighbours, "exponent": exponent}


def _empty_linear(_: AnyForm) -> Sides:
    return [Affine()], [Affine()]


def _empty_kernel_ridge(form: KernelRidge) -> Sides:
    mapped = [Affine(), Fourier() if form.features == "fourier" else RBF(), Affine()]
    return (mapped, [Affine()]) if source_of(form) == 0 else ([Affine()], mapped)


def _empty_asif(_: ASIF) -> Sides:
    return [Affine(), Relative()], [Affine(), Relative()]


FORMS: dict[str, Form] = {
    "procrustes": Form(_procrustes, _empty_linear),
    "ridge": Form(_ridge, _empty_linear),
    "cca": Form(_cca, _empty_linear),
    "asif": Form(_asif, _empty_asif),
    "kernel-ridge": Form(_kernel_ridge, _empty_kernel_ridge),
}
