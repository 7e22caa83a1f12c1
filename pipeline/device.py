"""Which device to compute on."""

import torch

from pipeline.errors import ConfigError


def choose_device(name: str | torch.device) -> str:
    """`auto` takes CUDA, then Apple's MPS, then the CPU; anything else is taken as torch names it.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        if not isinstance(name, (str, torch.device)):
            raise TypeError(f"found {type(name).__name__}")
        torch.zeros(1, device=name).item()  # "meta" has no values
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ConfigError(
            f"device {name!r} cannot be used here ({error}). Use auto, cpu, cuda, cuda:1 or mps."
        ) from error
    return str(name)
