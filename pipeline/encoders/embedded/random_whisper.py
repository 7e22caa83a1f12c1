"""A control for sounds: the architecture of Whisper tiny's encoder with weights that never heard anything."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.encoders.embedded.whisper import CONFIG, write_configs
from pipeline.torchvision_fix import ensure_torchvision

SEED = 20243


def convert(folder: Path) -> str:
    """Write a WhisperEncoder folder with transformers' own initialisation from a fixed seed; returns `seed-<SEED>`.

    The position embeddings are sinusoids, as in every Whisper.
    """
    ensure_torchvision()
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        weights = WhisperEncoder(WhisperConfig(**CONFIG)).state_dict()
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    write_configs(folder)
    return f"seed-{SEED}"
