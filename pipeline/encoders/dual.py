"""Dual encoders: the image tower and the text tower of one model whose features share a space already, such as CLIP.

It imports no model library.
"""

import json
from pathlib import Path

from pipeline.config import EncoderSpec, ViewSpec
from pipeline.encoders.manifest import Manifest
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
    return DUAL_CLASSES.get(str(config.get("model_type"))) if isinstance(config, dict) else None


def is_dual(folder: Path, spec: EncoderSpec) -> bool:
    """Whether `spec` asks for the projected features of a dual encoder: `image_features` or `text_features`.

    SigLIP's image tower is not meant: it projects nothing, so its pooled output is `image_features`, as that of any
    vision transformer of transformers, with patches beside it.
    """
    if spec.loader == "open_clip":
        return True
    kind = dual_class(folder) if spec.loader == "transformers" and spec.pooling == "model" else None
    return kind is not None and not (kind == "SiglipModel" and spec.modality == "image")


def check_described(manifest: Manifest, where: str) -> None:
    """Check that a checkpoint was described as a dual encoder, so that its fingerprint is that of projected features.

    Raises:
        CheckpointError: it was described by other parameters, or by a version that took another output.
    """
    if "features" not in manifest.preprocessing:
        raise CheckpointError(
            f"{where} was described for another pooling than `model`; run: dvc repro checkpoint@{where}"
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
