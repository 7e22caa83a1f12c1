"""Outputs of some blocks of a model of transformers, read with hooks; blocks behind the last of them are not run."""

from collections.abc import Sequence
from threading import get_ident
from typing import Any

import torch


class KeptLayers:
    """What the kept blocks give in each thread's latest pass.

    Args:
        model: changed in place: it loses the blocks that affect nothing kept.
        blocks: path of its list of blocks.
        layers: counted from 1.
    """

    def __init__(self, model: Any, blocks: str, layers: Sequence[int]) -> None:
        self._layers = frozenset(layers)
        self._outputs: dict[tuple[int, int], torch.Tensor] = {}  # of a thread and a layer
        stack = model.get_submodule(blocks)
        for layer in self._layers:
            stack[layer - 1].register_forward_hook(self._keep(layer))
        parent, _, name = blocks.rpartition(".")
        setattr(model.get_submodule(parent), name, stack[: max(layers)])

    def take(self) -> dict[int, torch.Tensor]:
        """The outputs of this thread's latest pass, by layer."""
        return {layer: self._outputs.pop((get_ident(), layer)) for layer in self._layers}

    def _keep(self, layer: int) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            self._outputs[get_ident(), layer] = output[0] if isinstance(output, tuple) else output

        return hook
