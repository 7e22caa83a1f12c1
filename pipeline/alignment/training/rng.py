"""The state of torch's own generators."""

from collections.abc import Mapping

import torch
from torch import Tensor


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """Of the CPU, and of `device` if that is a GPU."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else state


def set_rng_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore what `rng_state` gave, wherever its tensors are."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
