"""From what a pass gathered to heads: one for every combination of the values that a form gives.

Shapes: X and Y the widths of image and text vectors, M features of a kernel.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from pipeline.alignment.closed_form.kernel import gamma_of, kernel_ridge
from pipeline.alignment.closed_form.linear import cca, procrustes, ridge
from pipeline.alignment.closed_form.statistics import Gathered, source_of
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.fitted import RBF, Affine, Fourier, Relative
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.config import AlignerSpec, ClosedForm

Values = dict[str, float]
Sides = tuple[Sequence[nn.Module], Sequence[nn.Module]]  # what is applied to images, and to texts


def candidates(form: ClosedForm, spec: AlignerSpec, gathered: Gathered) -> Iterator[tuple[Head, Values]]:
    """Heads in evaluation mode and the values that they were fitted with, in the order in which these are written."""
    make: dict[str, Callable[[ClosedForm, AlignerSpec, Gathered], Iterator[tuple[Sides, Values]]]] = {
        "procrustes": _procrustes,
        "cca": _cca,
        "ridge": _ridge,
        "kernel-ridge": _kernel_ridge,
        "asif": _asif,
    }
    for (image, text), values in make[form.form](form, spec, gathered):
        yield TwoNetworks(spec.image_input, nn.Sequential(*image), nn.Sequential(*text)).eval(), values


def _procrustes(form: ClosedForm, spec: AlignerSpec, gathered: Gathered) -> Iterator[tuple[Sides, Values]]:
    del form
    before = gathered.whitenings
    maps = procrustes(gathered.moments.mapped(*before), spec.embed_dim)
    yield _linear(gathered, [_then(first, then) for first, then in zip(before, maps, strict=True)]), {}


def _cca(form: ClosedForm, spec: AlignerSpec, gathered: Gathered) -> Iterator[tuple[Sides, Values]]:
    for shrink, power in product(form.shrink, form.power):
        maps = cca(gathered.moments, shrink, power, spec.embed_dim)
        yield _linear(gathered, maps), {"shrink": shrink, "power": power}


def _ridge(form: ClosedForm, spec: AlignerSpec, gathered: Gathered) -> Iterator[tuple[Sides, Values]]:
    del spec
    source, moments = source_of(form), gathered.moments.mapped(*gathered.whitenings)
    for penalty in form.ridge:
        maps = list(gathered.whitenings)
        maps[source] = _then(maps[source], ridge(moments.swapped() if source else moments, penalty))
        yield _linear(gathered, maps), {"ridge": penalty}


def _then(first: Tensor | None, then: Tensor) -> Tensor:
    return then if first is None else first @ then


def _linear(gathered: Gathered, maps: Sequence[Tensor | None]) -> Sides:
    return [Affine(gathered.moments.mean_x, maps[0])], [Affine(gathered.moments.mean_y, maps[1])]


def _kernel_ridge(form: ClosedForm, spec: AlignerSpec, gathered: Gathered) -> Iterator[tuple[Sides, Values]]:
    del spec
    source = source_of(form)
    means = gathered.moments.mean_x, gathered.moments.mean_y
    target = Affine(means[1 - source], gathered.whitenings[1 - source])
    for bandwidth, penalty in product(form.bandwidth, form.ridge):
        solve = _exact if form.features == "exact" else _streamed
        predicted = [gathered.inputs[source], *solve(form, bandwidth, penalty, target, gathered)]
        sides: Sides = (predicted, [target]) if source == 0 else ([target], predicted)
        yield sides, {"bandwidth": bandwidth, "ridge": penalty}


def _exact(
    form: ClosedForm, bandwidth: float, penalty: float, target: Affine, gathered: Gathered
) -> tuple[RBF, Affine]:
    assert gathered.rows is not None
    source, (*sides, weight) = source_of(form), gathered.rows
    x = gathered.inputs[source](sides[source])
    kernel = RBF(x, gamma_of(x.var(0), bandwidth))
    solved = kernel_ridge(kernel(x), target(sides[1 - source]), penalty, weight)
    return kernel, Affine(solved.new_zeros(len(solved)), solved)


def _streamed(
    form: ClosedForm, bandwidth: float, penalty: float, target: Affine, gathered: Gathered
) -> tuple[RBF | Fourier, Affine]:
    del target
    features, root, raw = gathered.features(form, bandwidth)
    moments = raw.mapped(root, gathered.whitenings[1 - source_of(form)])
    size = len(moments.cov_xx)
    # the penalty of the exact form, which is on a sum over rows and not on their mean
    lifted = moments.cov_xx + penalty / moments.count * torch.eye(size, dtype=torch.float64, device=raw.cov_xx.device)
    solved = torch.cholesky_solve(moments.cov_xy, torch.linalg.cholesky(lifted))
    return features, Affine(raw.mean_x, solved if root is None else root @ solved)


def _asif(form: ClosedForm, spec: AlignerSpec, gathered: Gathered) -> Iterator[tuple[Sides, Values]]:
    del spec
    assert gathered.rows is not None
    missing = gathered.most_images - len(gathered.rows[0])  # anchors of zeros, so that all repeats are of one width
    anchors = [
        nn.functional.pad(inputs(rows), (0, 0, 0, missing))
        for inputs, rows in zip(gathered.inputs, gathered.rows[:2], strict=True)
    ]
    for neighbours, exponent in product(form.neighbours, form.exponent):
        image, text = (
            [inputs, Relative(rows, neighbours, exponent)]
            for inputs, rows in zip(gathered.inputs, anchors, strict=True)
        )
        yield (image, text), {"neighbours": neighbours, "exponent": exponent}
