"""Whether features can be fitted to at all: finite, and not all the same."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.alignment.closed_form.moments import Moments
from pipeline.config.modalities import DEFAULT, one
from pipeline.errors import DataError

_ROUNDING = 2.5e-13  # of the squared length of the mean: four times the relative rounding of float32, squared


def require_spread(mean_D: Tensor, variance_D: Tensor, what: str) -> None:
    """Check the mean (D,) and the variances (D,) of features.

    Args:
        what: they are, for the message, such as "image vectors of the train split of repeat 0".

    Raises:
        DataError: they hold NaN or infinity, or are all the same but for rounding.
    """
    total, offset = float(variance_D.double().sum()), float(mean_D.double().square().sum())
    if not (torch.isfinite(mean_D).all() and torch.isfinite(variance_D).all()):
        raise DataError(
            f"Expected finite {what}; found NaN or infinity, or sums beyond float32. Look for damage with: python -m "
            "pipeline.store verify. If the store is intact, its encoder gives such values: set `dtype: float32` for "
            "the view in params.yaml, or leave the samples out, and run: dvc repro"
        )
    if total <= _ROUNDING * offset or total == 0:
        raise DataError(
            f"Expected {what} that differ; all of them are the same, so nothing can be learned from them. Look at the "
            "samples of the data set, and at the preprocessing of the encoder in params.yaml."
        )


def require_spread_of_pairs(moments: Moments, where: str, modalities: Sequence[str] = DEFAULT) -> None:
    """`require_spread` of both sides.

    Args:
        modalities: what stands on them.
        where: the pairs are from, such as "the train split of repeat 0".
    """
    first, second = map(one, modalities)
    require_spread(moments.mean_x, moments.cov_xx.diagonal(), f"{first} vectors of {where}")
    require_spread(moments.mean_y, moments.cov_yy.diagonal(), f"{second} vectors of {where}")
