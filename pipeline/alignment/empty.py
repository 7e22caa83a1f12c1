"""A head of any fitted kind without its weights, for saved ones to be loaded into."""

from collections.abc import Mapping
from typing import Any

from pipeline.alignment.closed_form.forms import empty_form
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.build import build_head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.heads.fitted import Affine, Blocks, Scaled
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.heads.whitened import Whitened
from pipeline.config import AnyHead, AutoHead, ClosedFormHead, FittedHead, FusedView, IdentityHead, Side


def empty_head(
    spec: AnyHead,
    vision_dim: int,
    text_dim: int,
    embed_dim: int,
    choices: Mapping[str, Mapping[str, Any]],
    fusions: Mapping[Side, FusedView],
    standing: bool = False,
) -> Head:
    """The head of `spec` to load saved weights into, without dropout.

    Args:
        spec: as it was when the head was made.
        vision_dim, text_dim: widths of the features.
        embed_dim: of the saved head.
        choices: what fitting decided, by closed form.
        fusions: the views of fused sides.
        standing: whether it is a map into a space that stands, and has none of texts.
    """
    if isinstance(spec, IdentityHead):
        raise ValueError("head identity has no weights")
    if isinstance(spec, AutoHead):
        raise ValueError("head auto is one of two; give the one that it took")
    head = _of_one_view(spec, vision_dim, text_dim, embed_dim, choices, standing)
    if not fusions:
        return head
    image, text = fusions.get("image"), fusions.get("text")
    local = None if image is None or spec.local_tokens == "none" else _maps(image)
    return Whitened(head, None if image is None else (_maps(image), local), None if text is None else _maps(text))


def _maps(view: FusedView) -> Blocks:
    return Blocks([Affine() if view.scale == "whiten" else Scaled() for _ in view.concat])


def _of_one_view(
    spec: FittedHead,
    vision_dim: int,
    text_dim: int,
    embed_dim: int,
    choices: Mapping[str, Mapping[str, Any]],
    standing: bool,
) -> Head:
    if isinstance(spec, ClosedFormHead):
        kind = spec.image_input
        members = [empty_form(form, kind, choices.get(name, {}), standing) for name, form in spec.forms.items()]
        return members[0] if len(members) == 1 else Ensemble(members, [form.weight for form in spec.forms.values()])
    head = build_head(spec.model_copy(update={"embed_dim": embed_dim}), vision_dim, text_dim)
    if standing:
        assert isinstance(head, TwoNetworks)
        head.let_texts_stand()
    if spec.whitening is None:
        return head
    image = (Affine(), Affine()) if spec.whitening.of("image") else None
    return Whitened(head, image, Affine() if spec.whitening.of("text") else None)
