"""Heads in closed form: fitted in one pass over the training pairs, chosen by validation recall."""

import logging
import math

import torch

from pipeline.alignment.closed_form.forms import candidates
from pipeline.alignment.closed_form.statistics import Gathered
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads.base import SCALE_RANGE, Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.losses import soft_cross_entropy
from pipeline.alignment.validation import ValidationSet, read_validation, validation_recall
from pipeline.config import AlignerSpec, ClosedForm

log = logging.getLogger(__name__)


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
    gathered, validation = Gathered(spec, data, repeat, seed), read_validation(data, repeat)
    chosen, tried = [], 0
    for form in spec.closed:
        head, count = _best(form, spec, gathered, validation, repeat)
        chosen.append(head)
        tried += count
    head = chosen[0] if len(chosen) == 1 else Ensemble(chosen, [form.weight for form in spec.closed])
    head = head.to(data.features.device)
    _calibrate(head, validation)
    return head, validation_recall(head, validation), tried


def _best(
    form: ClosedForm, spec: AlignerSpec, gathered: Gathered, validation: ValidationSet, repeat: int
) -> tuple[Head, int]:
    """The head of one form, and of how many it is the best."""
    device = validation.positives_NM.device
    found = [(head.to(device), values) for head, values in candidates(form, spec, gathered)]
    if len(found) == 1:
        return found[0][0], 1
    recalls = [validation_recall(head, validation) for head, _ in found]
    head, values = found[recalls.index(max(recalls))]
    log.info("repeat %d: %s takes %s, of %d", repeat, form.form, values, len(found))
    return head, len(found)


@torch.no_grad()
def _calibrate(head: Head, validation: ValidationSet) -> None:
    """Set the temperature at which InfoNCE on the validation split is least: shares of classes come from it."""
    scores_NM = head.image_features(validation.images) @ head.text_features(validation.texts).T
    scales = torch.logspace(math.log10(SCALE_RANGE[0]), math.log10(SCALE_RANGE[1]), 81).tolist()
    losses = [float(soft_cross_entropy(scale * scores_NM, validation.positives_NM)) for scale in scales]
    head.logit_scale.fill_(math.log(scales[losses.index(min(losses))]))
