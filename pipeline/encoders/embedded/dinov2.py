"""The files around the weights of a ViT-S/14 in the format of transformers' Dinov2Model.

Written out in full, and without a library version, so that the same weights give the same bytes everywhere.
"""

from pathlib import Path
from typing import Any

from pipeline.files import write_json

CONFIG: dict[str, Any] = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-6,
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
    "qkv_bias": True,
    "layerscale_value": 1.0,
    "use_swiglu_ffn": False,
    "use_mask_token": True,
    "apply_layernorm": True,
    "reshape_hidden_states": True,
    "dtype": "float32",
}

PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "BitImageProcessor",
    "do_convert_rgb": True,
    "do_resize": True,
    "size": {"shortest_edge": 256},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def write_configs(folder: Path) -> None:
    """Write config.json and preprocessor_config.json (those of the published DINOv2 ViT-S/14)."""
    write_json(CONFIG, folder / "config.json", sort_keys=True)
    write_json(PREPROCESSOR, folder / "preprocessor_config.json", sort_keys=True)
