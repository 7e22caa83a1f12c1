"""Weights of linear layers in an exported ONNX graph.

Exporting keeps the names of parameters, but the weight of a linear layer becomes the transposed, anonymous right side
of a MatMul; the Add behind it still names the bias.
"""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import CheckpointError


def read_graph(payload: Path) -> tuple[Any, dict[str, np.ndarray]]:
    """The graph, and its constants by name.

    Raises:
        CheckpointError: the package onnx is not installed.
    """
    try:
        import onnx
        from onnx.numpy_helper import to_array
    except ImportError as error:
        raise CheckpointError(f"Reading {payload.name} needs the package onnx; run: pip install onnx") from error
    graph = onnx.load(payload).graph
    return graph, {tensor.name: np.asarray(to_array(tensor)) for tensor in graph.initializer}


def linear_weights(graph: Any, constants: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Weights (out, in) by the name of their layer's bias without `prefix`, `bias` replaced by `weight`."""
    products = {node.output[0]: constants[node.input[1]] for node in graph.node if _is_linear(node, constants)}
    weights = {}
    for node in graph.node:
        factors = [products[name] for name in node.input if name in products]
        biases = [name for name in node.input if name in constants and name.startswith(prefix)]
        if node.op_type == "Add" and factors and biases:
            weights[biases[0].removeprefix(prefix).removesuffix("bias") + "weight"] = factors[0].T
    return weights


def _is_linear(node: Any, constants: dict[str, np.ndarray]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in constants
