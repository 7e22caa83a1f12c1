"""Heads in closed form, fitted in one pass over the training pairs; what validation is to choose is chosen there.

Shapes: n pairs, X and Y the widths of image and text vectors, M features of a kernel.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import product

import torch
from torch import Tensor, nn

from pipeline.alignment.closed.kernel import LARGEST, draw_features, gamma_of, kernel_ridge
from pipeline.alignment.closed.linear import cca, procrustes, ridge, whitening
from pipeline.alignment.closed.moments import Moments, MomentSums
from pipeline.alignment.closed.pairs import pair_vectors, sample_pairs
from pipeline.alignment.data import AlignmentData
from pipeline.alignment.heads.base import SCALE_RANGE, Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.heads.fitted import RBF, Affine, Fourier, Relative
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.losses import soft_cross_entropy
from pipeline.alignment.validation import ValidationSet, read_validation, validation_recall
from pipeline.config.schema import AlignerSpec, ClosedForm
from pipeline.errors import DataError

log = logging.getLogger(__name__)

BLOCK = 4096  # pairs read at a time
SAMPLE = 8192  # pairs from which distances, landmarks and the whitening before a kernel are taken


def fit_closed(spec: AlignerSpec, data: AlignmentData, repeat: int, seed: int) -> tuple[Head, float, int]:
    """The head of an aligner whose `head` is closed, on the train split of `repeat`.

    Each form is fitted with every combination of the values that it gives; the one with the highest validation recall
    (the earliest of equals) is kept. Several forms become an ensemble.

    Args:
        seed: of random features and landmarks.

    Returns:
        The head, its validation recall, and how many combinations were tried.

    Raises:
        DataError: an exact kernel, or ASIF, of more images than fit.
    """
    fit, validation = _Fit(spec, data, repeat, seed), read_validation(data, repeat)
    chosen: list[Head] = []
    tried = 0
    for form in spec.closed:
        candidates = [(head.to(data.features.device), values) for head, values in fit.candidates(form)]
        tried += len(candidates)
        if len(candidates) > 1:
            recalls = [validation_recall(head, validation) for head, _ in candidates]
            best = max(range(len(recalls)), key=recalls.__getitem__)
            log.info("repeat %d: %s takes %s, of %d", repeat, form.form, candidates[best][1], len(candidates))
        else:
            best = 0
        chosen.append(candidates[best][0])
    head = chosen[0] if len(chosen) == 1 else Ensemble(chosen, [form.weight for form in spec.closed])
    head = head.to(data.features.device)
    _calibrate(head, validation)
    return head, validation_recall(head, validation), tried


@torch.no_grad()
def _calibrate(head: Head, validation: ValidationSet) -> None:
    """Set the temperature at which InfoNCE on the validation split is least: shares of classes come from it."""
    scores_NM = head.image_features(validation.images) @ head.text_features(validation.texts).T
    scales = torch.logspace(math.log10(SCALE_RANGE[0]), math.log10(SCALE_RANGE[1]), 81)
    losses = [float(soft_cross_entropy(scale * scores_NM, validation.right_NM)) for scale in scales.tolist()]
    head.logit_scale.fill_(math.log(float(scales[int(torch.tensor(losses).argmin())])))


class _Fit:
    """One pass: moments of the pairs, moments of kernel features, and the rows themselves where a form keeps them."""

    def __init__(self, spec: AlignerSpec, data: AlignmentData, repeat: int, seed: int) -> None:
        self._spec, self._device = spec, data.features.device
        pairs = data.train[repeat]
        sample = [torch.cat(part) for part in zip(*self._read(data, sample_pairs(pairs, SAMPLE)), strict=True)]
        self._inputs = [self._input_map(rows, side) for rows, side in zip(sample, ("image", "text"), strict=True)]
        generator = torch.Generator().manual_seed(seed)
        self._maps = {
            key: draw_features(form.features, x, form.size, gamma_of(x.var(0), bandwidth), generator)
            for form in spec.closed
            if form.form == "kernel-ridge" and form.features != "exact"
            for x in [self._inputs[_source(form)](sample[_source(form)])]
            for bandwidth in form.bandwidth
            for key in [_key(form, bandwidth)]
        }
        keeps = any(
            form.form == "asif" or (form.form == "kernel-ridge" and form.features == "exact") for form in spec.closed
        )
        images = max(len(torch.unique(rows[:, 0])) for rows in data.train) if keeps else 0
        self._most_images = images
        if images > LARGEST:
            raise DataError(
                f"A train split has {images} images; an exact kernel and asif keep every one and "
                f"are for at most {LARGEST}. Set `features: fourier` or `features: nystrom` of the form in params.yaml"
            )
        self._pass(data, pairs, keeps)

    def _read(self, data: AlignmentData, pairs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return pair_vectors(data.features, pairs, self._spec.image_input, BLOCK)

    def _input_map(self, rows: Tensor, side: str) -> Affine:
        """Centring of a side before a kernel or anchors, with whitening where the aligner asks for it."""
        mean = rows.double().mean(0)
        identity = torch.eye(rows.shape[1], dtype=torch.float64, device=rows.device)
        if self._spec.whiten not in (side, "both"):
            return Affine(mean, identity).to(self._device)
        covariance = torch.cov(rows.double().T, correction=0)
        return Affine(mean, whitening(covariance, self._spec.whiten_shrink)).to(self._device)

    def _pass(self, data: AlignmentData, pairs: Tensor, keeps: bool) -> None:
        sums = MomentSums()
        features: dict[tuple[object, ...], MomentSums] = {key: MomentSums() for key in self._maps}
        kept: list[tuple[Tensor, Tensor]] = []
        for block in self._read(data, pairs):
            sums.add(*block)
            for key, total in features.items():
                source = int(key[0] == "text-to-image")
                total.add(self._maps[key][0](self._inputs[source](block[source])), block[1 - source])
            if keeps:
                kept.append(block)
        self.moments: Moments = sums.moments()
        self._features = {key: total.moments() for key, total in features.items()}
        self._rows = _by_image(pairs[:, 0], *(torch.cat(part) for part in zip(*kept, strict=True))) if keeps else None

    def candidates(self, form: ClosedForm) -> list[tuple[Head, dict[str, float]]]:
        """A head for each combination of the values of a form, and the values."""
        make: dict[str, Callable[[ClosedForm], Iterator[tuple[Sequence[nn.Module], dict[str, float]]]]] = {
            "procrustes": self._procrustes,
            "cca": self._cca,
            "ridge": self._ridge,
            "kernel-ridge": self._kernel,
            "asif": self._asif,
        }
        kind = self._spec.image_input
        return [
            (TwoNetworks(kind, _sequence(sides[0]), _sequence(sides[1])).eval(), values)
            for sides, values in make[form.form](form)
        ]

    def _side_maps(self) -> list[Tensor]:
        """Whitening of each side by the moments of all pairs, or the identity."""
        covariances = self.moments.cov_xx, self.moments.cov_yy
        return [
            whitening(cov, self._spec.whiten_shrink)
            if self._spec.whiten in (side, "both")
            else torch.eye(len(cov), dtype=cov.dtype, device=cov.device)
            for cov, side in zip(covariances, ("image", "text"), strict=True)
        ]

    def _procrustes(self, form: ClosedForm) -> Iterator[tuple[Sequence[nn.Module], dict[str, float]]]:
        del form
        before = self._side_maps()
        maps = procrustes(self.moments.mapped(*before), self._spec.embed_dim)
        yield self._affine([b @ m for b, m in zip(before, maps, strict=True)]), {}

    def _cca(self, form: ClosedForm) -> Iterator[tuple[Sequence[nn.Module], dict[str, float]]]:
        for shrink, power in product(form.shrink, form.power):
            maps = cca(self.moments, shrink, power, self._spec.embed_dim)
            yield self._affine(maps), {"shrink": shrink, "power": power}

    def _ridge(self, form: ClosedForm) -> Iterator[tuple[Sequence[nn.Module], dict[str, float]]]:
        before, source = self._side_maps(), _source(form)
        moments = self.moments.mapped(*before)
        for penalty in form.ridge:
            solved = ridge(moments.swapped() if source else moments, penalty)
            maps = list(before)
            maps[source] = before[source] @ solved
            yield self._affine(maps), {"ridge": penalty}

    def _affine(self, maps: Sequence[Tensor]) -> list[nn.Module]:
        means = self.moments.mean_x, self.moments.mean_y
        return [Affine(mean, matrix) for mean, matrix in zip(means, maps, strict=True)]

    def _kernel(self, form: ClosedForm) -> Iterator[tuple[Sequence[nn.Module], dict[str, float]]]:
        source = _source(form)
        target = Affine((self.moments.mean_x, self.moments.mean_y)[1 - source], self._side_maps()[1 - source])
        for bandwidth in form.bandwidth:
            for penalty in form.ridge:
                feature_map, weights = self._solved(form, bandwidth, penalty, target)
                sides: list[nn.Module] = [nn.Sequential(self._inputs[source], feature_map, weights), target]
                yield (sides if source == 0 else sides[::-1]), {"bandwidth": bandwidth, "ridge": penalty}

    def _solved(
        self, form: ClosedForm, bandwidth: float, penalty: float, target: Affine
    ) -> tuple[RBF | Fourier, Affine]:
        source = _source(form)
        if form.features != "exact":
            feature_map, root = self._maps[_key(form, bandwidth)]
            own = self._features[_key(form, bandwidth)].mapped(root, target.matrix.double())
            size = own.cov_xx.shape[0]
            # the penalty of the exact form, n of whose rows share it
            lifted = own.cov_xx + penalty / own.count * torch.eye(size, dtype=torch.float64, device=own.cov_xx.device)
            solved = torch.cholesky_solve(own.cov_xy, torch.linalg.cholesky(lifted))
            raw = self._features[_key(form, bandwidth)]
            return feature_map, Affine(raw.mean_x, solved if root is None else root @ solved)
        assert self._rows is not None
        rows = self._rows if source == 0 else (self._rows[1], self._rows[0], self._rows[2])
        x = self._inputs[source](rows[0])
        feature_map = RBF(x, gamma_of(x.var(0), bandwidth))
        solved = kernel_ridge(feature_map(x), target(rows[1]), penalty, rows[2])
        return feature_map, Affine(solved.new_zeros(len(solved)), solved)

    def _asif(self, form: ClosedForm) -> Iterator[tuple[Sequence[nn.Module], dict[str, float]]]:
        assert self._rows is not None
        missing = self._most_images - len(self._rows[0])  # so that all repeats are of one width
        anchors = [
            nn.functional.pad(inputs(rows), (0, 0, 0, missing))
            for inputs, rows in zip(self._inputs, self._rows[:2], strict=True)
        ]
        for neighbours, exponent in product(form.neighbours, form.exponent):
            yield (
                [
                    nn.Sequential(inputs, Relative(rows, neighbours, exponent))
                    for inputs, rows in zip(self._inputs, anchors, strict=True)
                ],
                {"neighbours": neighbours, "exponent": exponent},
            )


def _source(form: ClosedForm) -> int:
    """Which side a regression predicts from: 0 images, 1 texts."""
    return int(form.direction == "text-to-image")


def _key(form: ClosedForm, bandwidth: float) -> tuple[object, ...]:
    return form.direction, form.features, form.size, bandwidth


def _sequence(module: nn.Module) -> nn.Module:
    return module if isinstance(module, nn.Sequential) else nn.Sequential(module)


def _by_image(image_n: Tensor, x_nX: Tensor, y_nY: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each image once: its vector, the mean of its captions' vectors, and how many there are."""
    _, place_n, count = torch.unique(image_n, return_inverse=True, return_counts=True)
    place_n, count = place_n.to(x_nX.device), count.to(x_nX.device)
    x = x_nX.new_zeros(len(count), x_nX.shape[1]).index_add(0, place_n, x_nX) / count[:, None]
    y = y_nY.new_zeros(len(count), y_nY.shape[1]).index_add(0, place_n, y_nY) / count[:, None]
    return x, y, count
