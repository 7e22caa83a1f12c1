"""The figure by which an epoch is chosen: retrieval on the validation split."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, Input, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads import Head
from pipeline.config.modalities import many

log = logging.getLogger(__name__)

LARGEST = 8192  # images
_CHUNK_ROWS = 4096
_SCORED_ROWS = 1024


def recall_at_1(scores_NM: Tensor, positives_NM: Tensor) -> float:
    """Share of rows whose best score is that of a positive; a tie with a negative counts as a miss.

    Args:
        scores_NM: float, queries by candidates.
        positives_NM: bool, at least one true entry per row.
    """
    right = []
    for start in range(0, len(scores_NM), _SCORED_ROWS):  # what is made of the scores is as large as they are
        scores, positives = scores_NM[start : start + _SCORED_ROWS], positives_NM[start : start + _SCORED_ROWS]
        best_positive = scores.masked_fill(~positives, -torch.inf).amax(dim=1)
        right.append(best_positive > scores.masked_fill(positives, -torch.inf).amax(dim=1))
    return float(torch.cat(right).float().mean())


@dataclass(frozen=True)
class ValidationSet:
    """The distinct images and captions of a validation split, on the device.

    Attributes:
        images: N of them.
        texts: M of them.
        positives_NM: (N, M) bool, whether a pair joins them.
    """

    images: ImageInput
    texts: TextInput
    positives_NM: Tensor


def read_validation(data: AlignmentData, repeat: int, largest: int = LARGEST) -> ValidationSet:
    """Read the validation split of `repeat`, of all data sets together, into memory.

    If there are more than `largest` distinct images, that many are used, evenly spaced over the stores, with all their
    captions, and a warning says so. They are the same in every loading mode.
    """
    pairs = data.validation[repeat]
    images = torch.unique(pairs[:, 0])
    if len(images) > largest:
        log.warning(
            "The validation split of repeat %d has %d %s; epochs are chosen on %d of them, evenly spaced",
            repeat, len(images), many(data.modalities[0]), largest,
        )  # fmt: skip
        images = images[torch.arange(largest, device=images.device) * len(images) // largest]
        pairs = pairs[torch.isin(pairs[:, 0], images)]
    images, image_N = torch.unique(pairs[:, 0], return_inverse=True)
    texts, text_M = torch.unique(pairs[:, 1], return_inverse=True)
    positives_NM = torch.zeros(len(images), len(texts), dtype=torch.bool, device=images.device)
    positives_NM[image_N, text_M] = True
    features = data.features
    return ValidationSet(features.images.read(images), features.texts.read(texts), positives_NM.to(features.device))


@torch.no_grad()
def validation_recall(head: Head, validation: ValidationSet) -> float:
    """R@1, mean of image to text and text to image. Leaves the head in evaluation mode."""
    head.eval()
    image_NK = _embed(head.image_features, validation.images)
    text_MK = _embed(head.text_features, validation.texts)
    scores_NM, positives_NM = image_NK @ text_MK.T, validation.positives_NM
    return (recall_at_1(scores_NM, positives_NM) + recall_at_1(scores_NM.T, positives_NM.T)) / 2


def _embed(features: Callable[[Input], Tensor], inputs: Input) -> Tensor:
    rows = torch.arange(len(inputs), device=inputs.device)
    return torch.cat([features(inputs.take(part)) for part in torch.split(rows, _CHUNK_ROWS)])
