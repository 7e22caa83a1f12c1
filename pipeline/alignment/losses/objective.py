"""What a training step minimises: the loss chosen in params.yaml, as its parts and their sum."""

from torch import Tensor

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.heads.base import Head, token_mean
from pipeline.alignment.losses import (
    chunked_info_nce,
    chunked_sigmoid,
    info_nce,
    patch_text_logits,
    shared_cross_entropy,
    sigmoid_loss,
    soft_cross_entropy,
    structure_loss,
)
from pipeline.alignment.losses.positives import EVERY, Positives, equal, pair_positives
from pipeline.alignment.losses.regularisers import mixed, noisy
from pipeline.alignment.processes import ALONE, Processes
from pipeline.config import AnyLoss, SigmoidLoss, StructureTerm


class Objective:
    """The loss of a head on a batch.

    It has no state, reads nothing back from the device, and no branch depends on data. It can therefore be captured,
    compiled, or mapped over stacked heads (`torch.func.functional_call` inside `vmap`, with `randomness="different"`
    if dropout, noise or mixup is on), in blocks of rows as well.

    Args:
        spec: kind of loss, terms and regularisers.
        concepts: (N,) int64, equal for images of one concept, by image id; for `positives: concept`.
        processes: of several, each computes its share of every part, from its rows of the batch and those of all.
    """

    def __init__(self, spec: AnyLoss, concepts: Tensor | None = None, processes: Processes = ALONE) -> None:
        if spec.positives == "concept" and concepts is None:
            raise ValueError("positives: concept needs the concept of each image")
        self.spec, self._concepts, self._processes = spec, concepts, processes

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
            batch = noisy(batch, spec.noise, self._processes)
        if head.training and spec.mixup:
            batch, order = mixed(batch, spec.mixup, self._processes)
            positives = _both(positives, self._positives(batch.image_ids[order], batch.text_ids[order]))
        own, size = self._processes.share(len(batch)), len(batch)
        image_RK = head.image_features(batch.images)
        text_BK = self._processes.rows_of_all(head.text_features(batch.texts), size)
        parts = {"contrast": self._contrast(head, image_RK, text_BK, positives)}
        loss = parts["contrast"]
        if spec.structure:
            image_BK = self._processes.rows_of_all(image_RK, size)
            parts["structure"] = self._structure(spec.structure, batch, image_BK, text_BK)
            loss = loss + spec.structure.weight * _ramp(progress, spec.structure.warmup) * parts["structure"]
        if spec.patch_text:
            logits_RB = patch_text_logits(head.patch_features(batch.images.local), text_BK, head.scale())
            parts["patch_text"] = (
                shared_cross_entropy(logits_RB, positives(own, slice(0, size)), self._processes)
                if self._processes.several
                else soft_cross_entropy(logits_RB, positives(EVERY, EVERY))
            )
            loss = loss + spec.patch_text * parts["patch_text"]
        return {**parts, "loss": loss}

    def _contrast(self, head: Head, image_RK: Tensor, text_BK: Tensor, positives: Positives) -> Tensor:
        size, rows, processes = len(text_BK), self.spec.chunk_rows, self._processes
        whole = size <= rows and not processes.several
        if not isinstance(self.spec, SigmoidLoss):
            if whole:
                return info_nce(image_RK, text_BK, head.scale(), positives(EVERY, EVERY))
            return chunked_info_nce(image_RK, text_BK, head.scale(), positives, rows, processes)
        bias = head.bias()
        if bias is None:
            raise ValueError("the sigmoid loss needs a head with a bias: build it with loss.kind: sigmoid")
        normaliser = size * size if self.spec.normalise == "pairs" else size
        if whole:
            return sigmoid_loss(image_RK, text_BK, head.scale(), bias, positives(EVERY, EVERY), normaliser)
        return chunked_sigmoid(image_RK, text_BK, head.scale(), bias, positives, normaliser, rows, processes)

    def _structure(self, term: StructureTerm, batch: PairBatch, image_BK: Tensor, text_BK: Tensor) -> Tensor:
        """Mean over both sides. The inputs compared are CLS tokens of images and mean tokens of texts."""
        own, size = self._processes.share(len(batch)), len(batch)
        before = (batch.images.cls.float(), token_mean(batch.texts.tokens.float(), batch.texts.mask))
        terms = [
            structure_loss(self._processes.rows_of_all(x, size), y, term.temperature, term.levels, own)
            for x, y in zip(before, (image_BK, text_BK), strict=True)
        ]
        mean = (terms[0] + terms[1]) / 2
        return mean * ((own.stop - own.start) / size) if self._processes.several else mean

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


def _ramp(progress: float | Tensor, warmup: float) -> float | Tensor:
    """A linear ramp from 0 to 1 over the share `warmup` of the steps."""
    if not warmup:
        return 1.0
    return (progress / warmup).clamp(max=1.0) if isinstance(progress, Tensor) else min(1.0, progress / warmup)


def _both(first: Positives, second: Positives) -> Positives:
    """The positives of both halves of mixed pairs."""
    return lambda rows, columns: first(rows, columns) & second(rows, columns)
