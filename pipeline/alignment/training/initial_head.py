"""The head that a training starts from: random, or fitted, behind whitening where the aligner asks for it."""

import torch
from torch import Tensor

from pipeline.alignment.closed_form.fit import fit_closed
from pipeline.alignment.closed_form.linear import whitening
from pipeline.alignment.closed_form.moments import MomentSums
from pipeline.alignment.closed_form.usable import require_spread_of_pairs
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.build import build_head
from pipeline.alignment.heads.fitted import Affine
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.heads.vectors import text_vector
from pipeline.alignment.heads.whitened import Whitened
from pipeline.config import ClosedFormHead, LinearHead, TrainedHead, TrainParams
from pipeline.errors import ModelError

_BLOCK = 4096


def initial_head(spec: TrainedHead, data: AlignmentData, params: TrainParams, repeat: int) -> Head:
    """The head of `spec` on the device of `data`: drawn from torch's generator, or fitted on the pairs of `repeat`."""
    features = data.features
    head = build_head(spec, features.images.width, features.texts.width, params.dropout, params.temperature)
    if data.standing:
        assert isinstance(head, TwoNetworks)
        head.let_texts_stand()
    image, text = input_whitening(spec, data, repeat)
    if isinstance(spec, LinearHead) and spec.init != "random":
        _start_from_closed_form(head, spec, data, repeat, (image, text))
    if image is not None or text is not None:
        head = Whitened(head, image, text)
    return head.to(features.device)


def input_whitening(
    spec: TrainedHead, data: AlignmentData, repeat: int
) -> tuple[tuple[Affine, Affine] | None, Affine | None]:
    """Whitening of CLS and local tokens, and of texts, where `whitening` asks for it, from the train split of `repeat`.

    Local tokens are whitened as their means over an image are: one pass over the pairs, two covariances each.

    Raises:
        DataError: the features of a side are not finite, or are all the same.
    """
    wanted = spec.whitening
    if wanted is None:
        return None, None
    first, second = MomentSums(), MomentSums()
    for part in torch.split(data.train[repeat], _BLOCK):
        images, texts = data.features.images.read(part[:, 0]), text_vector(data.features.texts.read(part[:, 1]))
        cls = images.cls.float()
        first.add(cls, texts)
        second.add(images.local.float().mean(1) if images.local.shape[1] else cls, texts)
    of_cls, of_local = first.moments(), second.moments()
    for of_side in (of_cls, of_local):
        require_spread_of_pairs(of_side, f"the train split of repeat {repeat}", data.modalities)

    def affine(mean: Tensor, covariance: Tensor) -> Affine:
        return Affine(mean, whitening(covariance, wanted.shrink))

    image = affine(of_cls.mean_x, of_cls.cov_xx), affine(of_local.mean_x, of_local.cov_xx)
    text = affine(of_cls.mean_y, of_cls.cov_yy)
    return (image if wanted.of("image") else None), (text if wanted.of("text") else None)


@torch.no_grad()
def _start_from_closed_form(
    head: Head,
    spec: LinearHead,
    data: AlignmentData,
    repeat: int,
    inputs: tuple[tuple[Affine, Affine] | None, Affine | None],
) -> None:
    """Give head `linear` the maps of a closed form, corrected for the whitening that comes before them.

    Raises:
        ModelError: the head is wider than the form.
    """
    entry = {"kind": "closed-form", "forms": {"start": {"kind": spec.init}}, "image_input": spec.image_input}
    computed = ClosedFormHead.model_validate({**entry, "local_tokens": spec.local_tokens})
    closed, _, _ = fit_closed(computed, data, repeat, seed=0)
    cls_map, local_map = inputs[0] if inputs[0] is not None else (None, None)
    before = {"cls": [cls_map], "mean": [local_map], "concat": [cls_map, local_map], "sum": []}[spec.image_input]
    for side, maps in (("image", before), ("text", [inputs[1]])):
        affine, linear = getattr(closed, side)[-1], getattr(head, side)[-1]
        matrix, offset = _after(affine, [part for part in maps if part is not None])
        if matrix.shape[1] < linear.out_features:
            raise ModelError(
                f"init: {spec.init} gives {matrix.shape[1]} directions, and the head has {linear.out_features}. "
                f"Set embed_dim of the aligner to {matrix.shape[1]} or less in params.yaml"
            )
        linear.weight.copy_(matrix[:, : linear.out_features].T)
        linear.bias.copy_(offset[: linear.out_features])


def _after(affine: Affine, before: list[Affine]) -> tuple[Tensor, Tensor]:
    """Matrix (D, K) and offset (K,) that give what `affine` gives, from inputs that `before` has mapped already."""
    mean, matrix = affine.mean.double(), affine.matrix.double()
    if not matrix.numel():  # centring alone
        matrix = torch.eye(len(mean), dtype=mean.dtype, device=mean.device)
    if not before:
        return matrix.float(), -(mean @ matrix).float()
    inverse: Tensor = torch.block_diag(  # type: ignore[no-untyped-call]
        *(torch.linalg.inv(part.matrix.double()) for part in before)
    )
    shift = torch.cat([part.mean.double() for part in before])
    return (inverse @ matrix).float(), ((shift - mean) @ matrix).float()
