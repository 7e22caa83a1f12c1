"""The files around the weights of Whisper tiny's encoder in the format of transformers' WhisperEncoder.

Written out in full, and without a library version, so that the same weights give the same bytes everywhere.
"""

from pathlib import Path
from typing import Any

from pipeline.files import write_json

CONFIG: dict[str, Any] = {
    "architectures": ["WhisperEncoder"],
    "model_type": "whisper",
    "vocab_size": 51864,
    "num_mel_bins": 80,
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
    "encoder_layerdrop": 0.0,
    "decoder_layers": 4,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1536,
    "activation_function": "gelu",
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "dropout": 0.0,
    "init_std": 0.02,
    "scale_embedding": False,
    "max_source_positions": 1500,
    "max_target_positions": 448,
    "pad_token_id": 50256,
    "bos_token_id": 50256,
    "eos_token_id": 50256,
    "decoder_start_token_id": 50257,
    "dtype": "float32",
}

PREPROCESSOR: dict[str, Any] = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 80,
    "sampling_rate": 16000,
    "hop_length": 160,
    "chunk_length": 30,
    "n_fft": 400,
    "padding_value": 0.0,
    "padding_side": "right",
    "dither": 0.0,
    "return_attention_mask": False,
}


def write_configs(folder: Path) -> None:
    """Write config.json and preprocessor_config.json."""
    write_json(CONFIG, folder / "config.json", sort_keys=True)
    write_json(PREPROCESSOR, folder / "preprocessor_config.json", sort_keys=True)
