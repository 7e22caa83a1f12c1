"""Dual encoders, such as CLIP: the image tower and the text tower of one model, whose features share a space.

Of CLAP the text tower is one of these; its audio tower is in `audio_families`.

This module imports no model library.
"""

import json
from pathlib import Path

from pipeline.config import EncoderSpec, ImageView, TextView
from pipeline.encoders.manifest import Manifest
from pipeline.errors import CheckpointError

DUAL_CLASSES = {  # model type in config.json -> class of transformers
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "siglip2": "Siglip2Model",
    "metaclip_2": "MetaClip2Model",
    "vision-text-dual-encoder": "VisionTextDualEncoderModel",
    "chinese_clip": "ChineseCLIPModel",
    "altclip": "AltCLIPModel",
    "clipseg": "CLIPSegModel",
    "blip": "BlipModel",
    "align": "AlignModel",
    "owlvit": "OwlViTModel",
    "owlv2": "Owlv2Model",
    "groupvit": "GroupViTModel",
    "flava": "FlavaModel",
    "aimv2": "Aimv2Model",
    "tipsv2": "Tipsv2Model",
    "xclip": "XCLIPModel",
    "clap": "ClapModel",
}
_UNPROJECTED = {"SiglipModel", "Siglip2Model"}  # their images: the pooled output is what the towers share


def dual_class(folder: Path) -> str | None:
    """The transformers class of the dual encoder in `folder`; None if it is not a dual encoder."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return DUAL_CLASSES.get(str(config.get("model_type"))) if isinstance(config, dict) else None


def is_dual(folder: Path, spec: EncoderSpec) -> bool:
    """Whether `spec` asks for the projected features of a dual encoder: `image_features` or `text_features`.

    The image towers of SigLIP and SigLIP2 are excluded: they have no projection, so their pooled output is
    `image_features`, and like any other vision transformer of transformers they give patches as well.
    """
    if spec.loader == "open_clip":
        return True
    kind = dual_class(folder) if spec.loader == "transformers" and spec.pooling == "model" else None
    return kind is not None and not (kind in _UNPROJECTED and spec.modality == "image")


def check_described(manifest: Manifest, where: str) -> None:
    """Check that a checkpoint was described as a dual encoder, so that its fingerprint is that of projected features.

    Raises:
        CheckpointError: it was described with other parameters, or by a version that used another output.
    """
    if "features" not in manifest.preprocessing:
        raise CheckpointError(
            f"{where} was described for another pooling than `model`; run: dvc repro checkpoint@{where}"
        )


def check_view(view: ImageView, spec: EncoderSpec, trained_side: int, where: str) -> None:
    """Check that an image view fits a dual encoder.

    Raises:
        CheckpointError: the view asks for a tier, resolution or layer that the encoder does not have.
    """
    if view.tier != "cls":
        raise CheckpointError(
            f"{where}: the view has tier {view.tier}; a dual encoder gives one vector per image, set `tier: cls`"
        )
    if view.resolution not in (None, trained_side):
        raise CheckpointError(
            f"{where}: the view has resolution {view.resolution}; this model was trained at {trained_side} and is "
            f"evaluated there, set `resolution: {trained_side}`"
        )
    if spec.layers != (-1,):
        raise CheckpointError(f"{where}: a dual encoder has its last output only, found layers {list(spec.layers)}")


def check_text_view(view: TextView, where: str) -> None:
    """Check that a text view asks for whole texts.

    Raises:
        CheckpointError: it asks for every token; tokens are not in the space that the towers share.
    """
    if view.tier == "full":
        raise CheckpointError(f"{where}: the view has tier full; a dual encoder gives one vector per text")
