"""The figure by which an epoch is chosen: retrieval on the validation split."""

import torch
from torch import Tensor

from pipeline.alignment.data import AlignmentData
from pipeline.alignment.projectors import FreezeAlign


def recall_at_1(scores_NM: Tensor, right_NM: Tensor) -> float:
    """Share of rows whose best score belongs to a right column; a tie with a wrong column counts as a miss.

    Args:
        scores_NM: float, queries by candidates.
        right_NM: bool, at least one true entry per row.
    """
    best_right = scores_NM.masked_fill(~right_NM, -torch.inf).amax(dim=1)
    best_wrong = scores_NM.masked_fill(right_NM, -torch.inf).amax(dim=1)
    return float((best_right > best_wrong).float().mean())


@torch.no_grad()
def validation_recall(head: FreezeAlign, data: AlignmentData, repeat: int) -> float:
    """R@1 on the validation split of `repeat`, mean of image to text and text to image.

    The distinct images and captions of all data sets together are the candidates. Leaves the head in evaluation mode.
    """
    head.eval()
    images, image_N = torch.unique(data.validation[repeat][:, 0], return_inverse=True)
    texts, text_M = torch.unique(data.validation[repeat][:, 1], return_inverse=True)
    right_NM = torch.zeros(len(images), len(texts), dtype=torch.bool, device=images.device)
    right_NM[image_N, text_M] = True
    scores_NM = head.image_features(data.images.take(images)) @ head.text_features(data.texts.take(texts)).T
    return (recall_at_1(scores_NM, right_NM) + recall_at_1(scores_NM.T, right_NM.T)) / 2
