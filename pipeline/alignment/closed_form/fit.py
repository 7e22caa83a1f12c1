"""Heads in closed form: fitted in one pass over the training pairs, chosen by validation recall."""

import logging
import math

import torch

from pipeline.alignment.closed_form.forms import candidates
from pipeline.alignment.closed_form.kernel import LARGEST
from pipeline.alignment.closed_form.statistics import TrainingStatistics, most_images
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads.base import SCALE_RANGE, Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.losses import soft_cross_entropy
from pipeline.alignment.validation import ValidationSet, read_validation, validation_recall
from pipeline.config import AnyForm, ClosedFormHead, ImageVector, KernelRidge
from pipeline.config.modalities import many

log = logging.getLogger(__name__)


def resolved(head: ClosedFormHead, data: AlignmentData) -> tuple[ClosedFormHead, dict[str, dict[str, str]]]:
    """The same head with nothing left open, and what was decided, by form.

    Kernels of `features: auto` are exact where every repeat has at most `LARGEST` training images, else Nystrom's.
    """
    choices: dict[str, dict[str, str]] = {}
    for name, form in head.forms.items():
        if isinstance(form, KernelRidge) and form.features == "auto":
            images = most_images(data)
            choices[name] = {"features": "exact" if images <= LARGEST else "nystrom"}
            of = many(data.modalities[0])
            log.info("%s takes features: %s, for %d training %s", name, choices[name]["features"], images, of)
    forms = {name: form.model_copy(update=choices.get(name, {})) for name, form in head.forms.items()}
    return head.model_copy(update={"forms": forms}), choices


def fit_closed(spec: ClosedFormHead, data: AlignmentData, repeat: int, seed: int) -> tuple[Head, float, int]:
    """A head in closed form on the train split of `repeat`.

    Each form is fitted with every combination of the values that it gives; the one with the highest validation recall
    (the earliest of equals) is kept. Several forms become an ensemble.

    Args:
        spec: with nothing left open, as `resolved` gives it.
        seed: of random features and landmarks.

    Returns:
        The head, its validation recall, and how many combinations were tried.

    Raises:
        DataError: as `TrainingStatistics`.
    """
    statistics, validation = TrainingStatistics(spec, data, repeat, seed), read_validation(data, repeat)
    chosen, tried = [], 0
    for name, form in spec.forms.items():
        head, count = _best(name, form, spec.image_input, statistics, validation, repeat)
        chosen.append(head)
        tried += count
    head = chosen[0] if len(chosen) == 1 else Ensemble(chosen, [form.weight for form in spec.forms.values()])
    head = head.to(data.features.device)
    _calibrate(head, validation)
    return head, validation_recall(head, validation), tried


def _best(
    name: str,
    form: AnyForm,
    image_input: ImageVector,
    statistics: TrainingStatistics,
    validation: ValidationSet,
    repeat: int,
) -> tuple[Head, int]:
    """The head of one form, and of how many it is the best."""
    device = validation.positives_NM.device
    heads = [(head.to(device), values) for head, values in candidates(form, image_input, statistics)]
    if len(heads) == 1:
        return heads[0][0], 1
    recalls = [validation_recall(head, validation) for head, _ in heads]
    head, values = heads[recalls.index(max(recalls))]
    log.info("repeat %d: %s takes %s, of %d", repeat, name, values, len(heads))
    return head, len(heads)


@torch.no_grad()
def _calibrate(head: Head, validation: ValidationSet) -> None:
    """Set the temperature at which InfoNCE on the validation split is least: shares of classes come from it."""
    scores_NM = head.image_features(validation.images) @ head.text_features(validation.texts).T
    scales = torch.logspace(math.log10(SCALE_RANGE[0]), math.log10(SCALE_RANGE[1]), 81).tolist()
    losses = [float(soft_cross_entropy(scale * scores_NM, validation.positives_NM)) for scale in scales]
    head.logit_scale.fill_(math.log(scales[losses.index(min(losses))]))
