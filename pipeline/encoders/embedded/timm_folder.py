"""A timm folder from weights of another network of the same architecture.

The other network and timm's register the same parameters in the same order under other names, so they are matched by
position; the last part of each name and each shape are checked.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from pipeline.errors import CheckpointError
from pipeline.files import write_json
from pipeline.torchvision_fix import ensure_torchvision


def write_timm_folder(payload: Path, config: dict[str, Any], folder: Path) -> None:
    """Write config.json and model.safetensors.

    Args:
        payload: a state dictionary, as torch.save writes it; read with `weights_only`.
        config: timm's, with `architecture` and `num_classes` (0 where the payload has no classifier).

    Raises:
        CheckpointError: the payload does not fit timm's architecture.
    """
    ensure_torchvision()
    import timm

    architecture = config["architecture"]
    theirs = torch.load(payload, map_location="cpu", weights_only=True)
    ours = timm.create_model(architecture, pretrained=False, num_classes=config["num_classes"]).state_dict()
    if [_kind(item) for item in theirs.items()] != [_kind(item) for item in ours.items()]:
        raise CheckpointError(f"{payload} does not match timm's {architecture}; run: pip install timm==1.0.31")
    weights = {name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(config, folder / "config.json", sort_keys=True)


def _kind(item: tuple[str, torch.Tensor]) -> tuple[str, torch.Size]:
    return item[0].rpartition(".")[2], item[1].shape
