"""Compute options of a backbone that do not change what it computes: mixed precision, compilation, memory layout."""

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

import torch


def mixed_precision(device: str, dtype: str | None) -> AbstractContextManager[Any]:
    """PyTorch's autocast to "bfloat16" or "float16": weights, norms and sums stay in float32.

    For None there is none, not even one that the caller has switched on.
    """
    kind = torch.device(device).type
    if dtype is None:
        return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()
    return torch.autocast(kind, dtype=getattr(torch, dtype))


def compile_blocks(model: torch.nn.Module, varying_length: bool) -> int:
    """Compile the blocks that a model repeats, in place, and return how many; the whole model if none repeat.

    Blocks of one class share their compiled code, so this takes a fraction of the time of compiling the model, and
    hooks that read block outputs stay outside the compiled code.

    Args:
        varying_length: inputs differ in length from batch to batch, as texts do.
    """
    blocks = [block for modules in model.modules() for block in _repeated(modules)]
    for block in blocks or [model]:
        block.forward = torch.compile(block.forward, dynamic=True if varying_length else None)
    return len(blocks)


def use_channels_last(model: torch.nn.Module) -> None:
    """Convert the weights of convolutions to the layout that image files use: channels last."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _repeated(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks of a stack: the members of a list of two or more modules of one class."""
    children = list(module.children())
    stack = isinstance(module, torch.nn.ModuleList | torch.nn.Sequential) and len(children) > 1
    same = all(type(a) is type(b) for a, b in pairwise(children))
    has_weights = any(True for child in children for _ in child.parameters())
    return children if stack and same and has_weights else []
