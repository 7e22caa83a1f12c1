"""The control: the architecture and preprocessing of the embedded ViT-S/14 with weights that never saw an image."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.encoders.embedded.dinov2 import CONFIG, write_configs
from pipeline.torchvision_fix import ensure_torchvision

SEED = 20240


def convert(folder: Path) -> str:
    """Write a Dinov2Model folder with transformers' own initialisation from a fixed seed; returns `seed-<SEED>`."""
    ensure_torchvision()
    from transformers import Dinov2Config, Dinov2Model

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        weights = Dinov2Model(Dinov2Config(**CONFIG)).state_dict()
    save_file(
        {name: tensor.contiguous() for name, tensor in weights.items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    write_configs(folder)
    return f"seed-{SEED}"
