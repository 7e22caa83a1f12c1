"""The sigmoid loss of SigLIP (Zhai et al., ICCV 2023), with SAIL's choice of what it is divided by."""

from torch import Tensor
from torch.nn import functional as F


def sigmoid_loss(
    image_BK: Tensor, text_BK: Tensor, scale: Tensor, bias: Tensor, positive_BB: Tensor, normaliser: int
) -> Tensor:
    """Every entry of the matrix as a yes-no question: is it a positive?

    SigLIP divides by the B rows, so that the loss grows with the batch; SAIL (Zhang et al., CVPR 2025) by the B * B
    entries, and starts with scale 20 and bias -10. SAIL's second caption per image is a positive like any other.

    Args:
        image_BK, text_BK: unit vectors of the pairs, row by row.
        scale, bias: scalars; the logits are scale * cosine + bias.
        positive_BB: (B, B) bool.
        normaliser: what the sum over all entries is divided by.

    Returns:
        The loss, a scalar.
    """
    logits_BB = scale * image_BK @ text_BK.T + bias
    sign_BB = 2 * positive_BB.to(logits_BB.dtype) - 1
    return -F.logsigmoid(sign_BB * logits_BB).sum() / normaliser
