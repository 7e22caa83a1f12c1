"""What a training step minimises: the loss chosen in params.yaml, as its parts and their sum."""

from torch import Tensor

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.heads.base import Head, token_mean
from pipeline.alignment.losses import (
    chunked_info_nce,
    chunked_sigmoid,
    info_nce,
    patch_text_logits,
    sigmoid_loss,
    soft_cross_entropy,
    structure_loss,
)
from pipeline.alignment.losses.positives import EVERY, Positives, equal, pair_positives
from pipeline.alignment.losses.regularisers import mixed, noisy
from pipeline.config import AnyLoss, SigmoidLoss, StructureTerm


class Objective:
    """The loss of a head on a batch.

    It has no state, reads nothing back from the device, and no branch depends on data. It can therefore be captured,
    compiled, or mapped over stacked heads (`torch.func.functional_call` inside `vmap`, with `randomness="different"`
    if dropout, noise or mixup is on), in blocks of rows as well.

    Args:
        spec: kind of loss, terms and regularisers.
        concepts: (N,) int64, equal for images of one concept, by image id; for `positives: concept`.
    """

    def __init__(self, spec: AnyLoss, concepts: Tensor | None = None) -> None:
        if spec.positives == "concept" and concepts is None:
            raise ValueError("positives: concept needs the concept of each image")
        self.spec, self._concepts = spec, concepts

    def __call__(self, head: Head, batch: PairBatch, progress: float | Tensor) -> dict[str, Tensor]:
        """Parts of the loss by name, scalars with gradients; "loss" is their weighted sum.

        Mixup and noise apply only while the head is in training mode.

        Args:
            progress: share of the training steps already taken, 0 to 1, for the warm-up of the structure term; a scalar
                tensor if the step is compiled or captured.
        """
        spec = self.spec
        positives = self._positives(batch.image_ids, batch.text_ids)
        if head.training and spec.noise:
            batch = noisy(batch, spec.noise)
        if head.training and spec.mixup:
            batch, order = mixed(batch, spec.mixup)
            positives = _both(positives, self._positives(batch.image_ids[order], batch.text_ids[order]))
        image_BK, text_BK = head.image_features(batch.images), head.text_features(batch.texts)
        parts = {"contrast": self._contrast(head, image_BK, text_BK, positives)}
        loss = parts["contrast"]
        if spec.structure:
            parts["structure"] = _structure(spec.structure, batch, image_BK, text_BK)
            loss = loss + spec.structure.weight * _ramp(progress, spec.structure.warmup) * parts["structure"]
        if spec.patch_text:
            logits_BB = patch_text_logits(head.patch_features(batch.images.local), text_BK, head.scale())
            parts["patch_text"] = soft_cross_entropy(logits_BB, positives(EVERY, EVERY))
            loss = loss + spec.patch_text * parts["patch_text"]
        return {**parts, "loss": loss}

    def _contrast(self, head: Head, image_BK: Tensor, text_BK: Tensor, positives: Positives) -> Tensor:
        size, rows = len(image_BK), self.spec.chunk_rows
        if not isinstance(self.spec, SigmoidLoss):
            if size > rows:
                return chunked_info_nce(image_BK, text_BK, head.scale(), positives, rows)
            return info_nce(image_BK, text_BK, head.scale(), positives(EVERY, EVERY))
        bias = head.bias()
        if bias is None:
            raise ValueError("the sigmoid loss needs a head with a bias: build it with loss.kind: sigmoid")
        normaliser = size * size if self.spec.normalise == "pairs" else size
        if size > rows:
            return chunked_sigmoid(image_BK, text_BK, head.scale(), bias, positives, normaliser, rows)
        return sigmoid_loss(image_BK, text_BK, head.scale(), bias, positives(EVERY, EVERY), normaliser)

    def _positives(self, images: Tensor, texts: Tensor) -> Positives:
        """Positives among the pairs of a batch; ids as in `PairBatch`."""
        if self.spec.positives == "own":
            return lambda rows, columns: equal(images, rows, columns) & equal(texts, rows, columns)
        by_pairs = pair_positives(images, texts)
        if self.spec.positives == "pairs":
            return by_pairs
        assert self._concepts is not None
        concepts = self._concepts[images]
        return lambda rows, columns: by_pairs(rows, columns) | equal(concepts, rows, columns)


def _structure(term: StructureTerm, batch: PairBatch, image_BK: Tensor, text_BK: Tensor) -> Tensor:
    """Mean over both sides. The inputs compared are CLS tokens of images and mean tokens of texts."""
    before = (batch.images.cls.float(), token_mean(batch.texts.tokens.float(), batch.texts.mask))
    terms = [
        structure_loss(x, y, term.temperature, term.levels) for x, y in zip(before, (image_BK, text_BK), strict=True)
    ]
    return (terms[0] + terms[1]) / 2


def _ramp(progress: float | Tensor, warmup: float) -> float | Tensor:
    """A linear ramp from 0 to 1 over the share `warmup` of the steps."""
    if not warmup:
        return 1.0
    return (progress / warmup).clamp(max=1.0) if isinstance(progress, Tensor) else min(1.0, progress / warmup)


def _both(first: Positives, second: Positives) -> Positives:
    """The positives of both halves of mixed pairs."""
    return lambda rows, columns: first(rows, columns) & second(rows, columns)
