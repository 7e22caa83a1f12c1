"""Dual encoders: the image tower and the text tower of one model whose features share a space already, such as CLIP.

It imports no model library.
"""

import json
from pathlib import Path

from pipeline.config.schema import EncoderSpec, ViewSpec
from pipeline.errors import CheckpointError

DUAL_CLASSES = {  # model type in config.json -> class of transformers
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "metaclip_2": "MetaClip2Model",
    "vision-text-dual-encoder": "VisionTextDualEncoderModel",
}


def dual_class(folder: Path) -> str | None:
    """The class of transformers that a dual encoder in `folder` is of; None where it is none."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return DUAL_CLASSES.get(config.get("model_type")) if isinstance(config, dict) else None


def is_dual(folder: Path, spec: EncoderSpec) -> bool:
    """Whether `spec` asks for the projected features of a dual encoder: `image_features` or `text_features`."""
    return spec.loader == "open_clip" or (
        spec.loader == "transformers" and spec.pooling == "model" and dual_class(folder) is not None
    )


def check_view(view: ViewSpec, spec: EncoderSpec, own_side: int, where: str) -> None:
    """Check that an image view takes a dual encoder as it is.

    Raises:
        CheckpointError: another tier, resolution or layer than there is.
    """
    if view.tier != "cls":
        raise CheckpointError(
            f"{where}: the view has tier {view.tier}; of a dual encoder one vector per image is kept, set `tier: cls`"
        )
    if view.resolution not in (None, own_side):
        raise CheckpointError(
            f"{where}: the view has resolution {view.resolution}; this model was trained at {own_side} and is "
            f"evaluated there, set `resolution: {own_side}`"
        )
    if spec.layers != (-1,):
        raise CheckpointError(f"{where}: a dual encoder has its last output only, found layers {list(spec.layers)}")


def check_text_view(view: ViewSpec, where: str) -> None:
    """Check that a text view asks for whole texts.

    Raises:
        CheckpointError: it asks for every token, which are not in the space that the towers share.
    """
    if view.tier == "full":
        raise CheckpointError(f"{where}: the view has tier full; of a dual encoder one vector per text is kept")
