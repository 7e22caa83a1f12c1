"""A control for texts: the architecture and tokenizer of all-MiniLM-L6-v2 with weights that never saw a text."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.encoders.embedded import minilm
from pipeline.torchvision_fix import ensure_torchvision

SEED = 20241


def convert(folder: Path) -> str:
    """Write a sentence-transformers folder with transformers' own initialisation from a fixed seed.

    Returns:
        `seed-<SEED>`.

    Raises:
        CheckpointError: the package of all-MiniLM-L6-v2 is not installed.
    """
    ensure_torchvision()
    from transformers import BertConfig, BertModel

    minilm.convert(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        weights = BertModel(
            BertConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        ).state_dict()
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    return f"seed-{SEED}"
