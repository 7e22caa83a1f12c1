"""The figure by which an epoch is chosen: retrieval on the validation split."""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads import Head

log = logging.getLogger(__name__)

LARGEST = 8192  # images
_CHUNK_ROWS = 4096


def recall_at_1(scores_NM: Tensor, right_NM: Tensor) -> float:
    """Share of rows whose best score belongs to a right column; a tie with a wrong column counts as a miss.

    Args:
        scores_NM: float, queries by candidates.
        right_NM: bool, at least one true entry per row.
    """
    best_right = scores_NM.masked_fill(~right_NM, -torch.inf).amax(dim=1)
    best_wrong = scores_NM.masked_fill(right_NM, -torch.inf).amax(dim=1)
    return float((best_right > best_wrong).float().mean())


@dataclass(frozen=True)
class ValidationSet:
    """The distinct images and captions of a validation split, on the device.

    Attributes:
        images: N of them.
        texts: M of them.
        right_NM: (N, M) bool, whether a pair joins them.
    """

    images: ImageInput
    texts: TextInput
    right_NM: Tensor


def read_validation(data: AlignmentData, repeat: int, largest: int = LARGEST) -> ValidationSet:
    """Read the validation split of `repeat`, of all data sets together; once, however the training data is loaded.

    Of more than `largest` distinct images, that many are used, evenly spaced over the stores, with all their captions;
    a warning says so. Every loading mode uses the same ones.
    """
    pairs = data.validation[repeat]
    images = torch.unique(pairs[:, 0])
    if len(images) > largest:
        log.warning(
            "The validation split of repeat %d has %d images; epochs are chosen on %d of them, evenly spaced",
            repeat, len(images), largest,
        )  # fmt: skip
        images = images[torch.arange(largest, device=images.device) * len(images) // largest]
        pairs = pairs[torch.isin(pairs[:, 0], images)]
    images, image_N = torch.unique(pairs[:, 0], return_inverse=True)
    texts, text_M = torch.unique(pairs[:, 1], return_inverse=True)
    right_NM = torch.zeros(len(images), len(texts), dtype=torch.bool, device=images.device)
    right_NM[image_N, text_M] = True
    features = data.features
    return ValidationSet(features.read_images(images), features.read_texts(texts), right_NM.to(features.device))


@torch.no_grad()
def validation_recall(head: Head, validation: ValidationSet) -> float:
    """R@1, mean of image to text and text to image. Leaves the head in evaluation mode."""
    head.eval()
    device = validation.right_NM.device
    images, texts = validation.images, validation.texts
    image_NK = torch.cat([head.image_features(images.take(rows)) for rows in _chunks(len(images), device)])
    text_MK = torch.cat([head.text_features(texts.take(rows)) for rows in _chunks(len(texts), device)])
    scores_NM = image_NK @ text_MK.T
    return (recall_at_1(scores_NM, validation.right_NM) + recall_at_1(scores_NM.T, validation.right_NM.T)) / 2


def _chunks(rows: int, device: torch.device) -> tuple[Tensor, ...]:
    return torch.split(torch.arange(rows, device=device), _CHUNK_ROWS)
