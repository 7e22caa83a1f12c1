"""What a step of training makes small: the loss that params.yaml asks for, as its parts and their sum."""

from torch import Tensor

from pipeline.alignment.batches import PairBatch
from pipeline.alignment.heads.base import Head
from pipeline.alignment.losses import info_nce, positives
from pipeline.config.schema import LossSpec


class Objective:
    """The loss of a head on a batch.

    It holds no state, reads nothing back from the device, and no branch depends on data, so that it may be captured,
    compiled, or mapped over stacked heads (`torch.func.functional_call` inside `vmap`, with `randomness="different"`
    where dropout, noise or mixup are on).
    """

    def __init__(self, spec: LossSpec) -> None:
        self.spec = spec

    def __call__(self, head: Head, batch: PairBatch, progress: float) -> dict[str, Tensor]:
        """Parts of the loss by name, scalars with gradients; "loss" is their weighted sum.

        Args:
            progress: share of the steps of the training that lie behind, 0 to 1, for terms that grow.
        """
        del progress
        image_BK, text_BK = head.image_features(batch.images), head.text_features(batch.texts)
        contrast = info_nce(image_BK, text_BK, head.scale(), positives(batch.image_ids, batch.text_ids))
        return {"contrast": contrast, "loss": contrast}
