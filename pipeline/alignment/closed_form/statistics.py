"""One pass over the training pairs: everything that the closed forms of an aligner need of them.

Shapes: n pairs, X and Y the widths of image and text vectors, M features of a kernel.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from pipeline.alignment.closed_form.kernel import LARGEST, draw_features, gamma_of
from pipeline.alignment.closed_form.linear import whitening
from pipeline.alignment.closed_form.moments import Moments, MomentSums, few, moments_of_few
from pipeline.alignment.closed_form.pair_vectors import pair_vectors, sample_pairs
from pipeline.alignment.closed_form.usable import require_spread, require_spread_of_pairs
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads.fitted import RBF, Affine, Fourier
from pipeline.config import ASIF, CCA, AnyForm, ClosedFormHead, KernelRidge, Procrustes, Ridge
from pipeline.config.modalities import many, one
from pipeline.errors import DataError

BLOCK = 4096  # pairs read at a time
SAMPLE = 8192  # pairs from which distances, landmarks and the whitening before a kernel are taken
SIDES = ("image", "text")

FeatureKey = tuple[int, str, int, float]  # side that the features are of, their kind, number, bandwidth


class TrainingStatistics:
    """What a pass over the training pairs collects.

    Attributes:
        moments: of image vectors and text vectors of all pairs; far fewer than features in the directions they span.
        inputs: per side, centring before a kernel or anchors, with whitening where the aligner asks for it.
        whitenings: per side, (X, X) and (Y, Y) float64 from `moments`; None where it is not asked for.
        rows: each training image once, where a form keeps them: vectors (n, X), the mean of its captions' vectors
            (n, Y), and how many captions it has (n,).
        most_images: training images of the largest repeat, where a form keeps them.
        standing: whether texts are vectors of a space that stands, to which images are brought.
    """

    def __init__(self, head: ClosedFormHead, data: AlignmentData, repeat: int, seed: int) -> None:
        """Read the train split of `repeat`.

        Args:
            seed: of random features and landmarks.

        Raises:
            DataError: a form keeps every image, and there are too many; or the vectors of a side are not finite, or are
                all the same.
        """
        self._head, self.standing = head, bool(data.standing)
        where = f"the train split of repeat {repeat}"
        pairs = data.train[repeat]
        keeps = any(map(keeps_images, head.forms.values()))
        self.most_images = most_images(data) if keeps else 0
        if self.most_images > LARGEST:
            raise DataError(
                f"A train split has {self.most_images} {many(data.modalities[0])}; an exact kernel and asif keep "
                f"every one and are for at most {LARGEST}. Set `features: auto`, or leave asif out, in params.yaml"
            )
        sample = [torch.cat(part) for part in zip(*self._read(data, sample_pairs(pairs, SAMPLE)), strict=True)]
        for rows, modality in zip(sample, data.modalities, strict=True):
            require_spread(rows.mean(0), rows.var(0, correction=0), f"{one(modality)} vectors of {where}")
        self.inputs = [self._input(rows, side) for rows, side in zip(sample, SIDES, strict=True)]
        self._features = self._drawn([inputs(rows) for inputs, rows in zip(self.inputs, sample, strict=True)], seed)
        spanned = len(pairs) <= SAMPLE and head.whitening is None and all(map(stays_in_span, head.forms.values()))
        known = moments_of_few(*sample) if spanned and any(few(*rows.shape) for rows in sample) else None
        self._sum(data, pairs, keeps, known)
        require_spread_of_pairs(self.moments, where, data.modalities)
        covariances = self.moments.cov_xx, self.moments.cov_yy
        self.whitenings = [self._whitening(cov, side) for cov, side in zip(covariances, SIDES, strict=True)]

    def features(self, form: KernelRidge, bandwidth: float) -> tuple[RBF | Fourier, Tensor | None, Moments]:
        """Of a streamed kernel: its map, the root (M, M) that Nystrom needs behind it, and moments with the targets."""
        key = feature_key(form, bandwidth)
        return *self._features[key], self._feature_moments[key]

    def _read(self, data: AlignmentData, pairs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return pair_vectors(data.features, pairs, self._head.image_input, BLOCK)

    def _input(self, rows: Tensor, side: str) -> Affine:
        wanted = self._head.whitening is not None and self._head.whitening.of(side)
        covariance = torch.cov(rows.double().T, correction=0) if wanted else None
        return Affine(rows.double().mean(0), self._whitening(covariance, side)).to(rows.device)

    def _whitening(self, covariance: Tensor | None, side: str) -> Tensor | None:
        wanted = self._head.whitening
        if covariance is None or wanted is None or not wanted.of(side):
            return None
        return whitening(covariance, wanted.shrink)

    def _drawn(self, sample: list[Tensor], seed: int) -> dict[FeatureKey, tuple[RBF | Fourier, Tensor | None]]:
        """The features of every streamed kernel and bandwidth."""
        generator, drawn = torch.Generator().manual_seed(seed), {}
        for form in self._head.forms.values():
            if not isinstance(form, KernelRidge) or form.features in ("auto", "exact"):
                continue
            rows = sample[source_of(form)]
            for bandwidth in form.bandwidth:
                gamma = gamma_of(rows.var(0), bandwidth)
                drawn[feature_key(form, bandwidth)] = draw_features(form.features, rows, form.size, gamma, generator)
        return drawn

    def _sum(self, data: AlignmentData, pairs: Tensor, keeps: bool, known: Moments | None) -> None:
        """Read all pairs.

        Args:
            known: their moments, if they are.
        """
        sums, feature_sums = MomentSums(), {key: MomentSums() for key in self._features}
        kept: list[tuple[Tensor, Tensor]] = []
        for block in self._read(data, pairs):
            if known is None:
                sums.add(*block)
            for key, total in feature_sums.items():
                source = key[0]
                total.add(self._features[key][0](self.inputs[source](block[source])), block[1 - source])
            if keeps:
                kept.append(block)
        self.moments = known or sums.moments()
        self._feature_moments = {key: total.moments() for key, total in feature_sums.items()}
        self.rows = _by_image(pairs[:, 0], *(torch.cat(part) for part in zip(*kept, strict=True))) if keeps else None


def most_images(data: AlignmentData) -> int:
    """Training images of the largest repeat."""
    return max(len(torch.unique(split[:, 0])) for split in data.train)


def source_of(form: Ridge | KernelRidge) -> int:
    """Which side a regression predicts from: 0 images, 1 texts."""
    return int(form.direction == "text-to-image")


def feature_key(form: KernelRidge, bandwidth: float) -> FeatureKey:
    """What decides the features of a streamed kernel."""
    return source_of(form), form.features, form.size, bandwidth


def keeps_images(form: AnyForm) -> bool:
    """Whether a form keeps every training image."""
    return isinstance(form, ASIF) or (isinstance(form, KernelRidge) and form.features == "exact")


def stays_in_span(form: AnyForm) -> bool:
    """Whether a form maps to 0 what is outside of the directions that its pairs span."""
    return not isinstance(form, Procrustes) and not (isinstance(form, CCA) and 0 in form.power)


def _by_image(image_n: Tensor, x_nX: Tensor, y_nY: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each image once: its vector, the mean of its captions' vectors, and how many there are."""
    _, place_n, count = torch.unique(image_n, return_inverse=True, return_counts=True)
    place_n, count = place_n.to(x_nX.device), count.to(x_nX.device)
    x = x_nX.new_zeros(len(count), x_nX.shape[1]).index_add(0, place_n, x_nX) / count[:, None]
    y = y_nY.new_zeros(len(count), y_nY.shape[1]).index_add(0, place_n, y_nY) / count[:, None]
    return x, y, count
