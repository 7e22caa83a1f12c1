"""The contrastive loss, for data in which one caption fits several images and one image has several captions."""

from torch import Tensor


def info_nce(image_BK: Tensor, text_BK: Tensor, scale: Tensor, positive_BB: Tensor) -> Tensor:
    """Symmetric InfoNCE (van den Oord et al. 2018; Radford et al. 2021) with equally shared targets.

    Each row's target is uniform over its positives, and so is each column's: cross-entropy with soft targets, averaged
    over rows and columns. With one positive per row and column it is CLIP's loss.

    Args:
        image_BK, text_BK: unit vectors of the pairs, row by row.
        scale: scalar that multiplies the cosines.
        positive_BB: (B, B) bool from `pair_positives`; the diagonal is true.

    Returns:
        The loss, a scalar.
    """
    return soft_cross_entropy(scale * image_BK @ text_BK.T, positive_BB)


def soft_cross_entropy(logits_BB: Tensor, positive_BB: Tensor) -> Tensor:
    """The same from logits (B, B), images by texts."""
    weight_BB = positive_BB.to(logits_BB.dtype)
    positive_logits_BB = logits_BB * weight_BB
    image_to_text = logits_BB.logsumexp(dim=1) - positive_logits_BB.sum(dim=1) / weight_BB.sum(dim=1)
    text_to_image = logits_BB.logsumexp(dim=0) - positive_logits_BB.sum(dim=0) / weight_BB.sum(dim=0)
    return (image_to_text.mean() + text_to_image.mean()) / 2
