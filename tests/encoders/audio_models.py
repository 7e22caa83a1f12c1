"""Small audio checkpoints with random weights, and what their own library gives for one sound at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as hf
from transformers.models.whisper.modeling_whisper import WhisperEncoder

SECONDS, RATE = 0.8, 16_000
Sounds = Sequence[np.ndarray]
Layers = list[torch.Tensor]  # of one sound, (T, D) of each kept layer

WIDTH = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
WAVE = WIDTH | {
    **{"conv_dim": (8, 8, 8), "conv_kernel": (10, 3, 3), "conv_stride": (5, 4, 4), "num_feat_extract_layers": 3},
    **{"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4},
}
STABLE = {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}
WHISPER = {
    **{"d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "decoder_layers": 1},
    **{"decoder_attention_heads": 2, "decoder_ffn_dim": 48, "vocab_size": 60, "max_source_positions": 100},
    **{"num_mel_bins": 20, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3},
}
AST = WIDTH | {"max_length": 96, "num_mel_bins": 32, "patch_size": 8, "frequency_stride": 4, "time_stride": 4}
CLAP_AUDIO = {
    **{"patch_embeds_hidden_size": 8, "hidden_size": 32, "depths": [1, 1, 1], "num_attention_heads": [2, 2, 2]},
    **{"spec_size": 64, "num_mel_bins": 16, "window_size": 4, "num_classes": 4, "projection_dim": 16},
}
CLAP_TEXT = WIDTH | {"vocab_size": 60, "max_position_embeddings": 20, "projection_dim": 16}


@dataclass(frozen=True)
class Family:
    """How to make a checkpoint, and what its library gives.

    Attributes:
        make: writes the folder.
        frames: (T, D) of each layer that is asked for, real frames only, of one sound; None where there are none.
        pooled: the model's own vector (D,) of one sound, or None.
        poolings: that it has.
        seconds: of the view.
    """

    make: Callable[[Path], None]
    frames: Callable[[Path, np.ndarray, Sequence[int]], Layers] | None
    pooled: Callable[[Path, np.ndarray], torch.Tensor] | None = None
    poolings: tuple[str, ...] = ("mean",)
    seconds: float = SECONDS


def _spread(model: torch.nn.Module) -> Any:
    """The model with weights that tell sounds apart, which those of a fresh one hardly do."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "embed_positions" not in name and "parametrizations" not in name:
                weight.normal_(std=1.2 * (weight.numel() / weight.shape[0]) ** -0.5)
    return model


def _saved(model: Callable[[], Any], extractor: Callable[[], Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        torch.manual_seed(0)
        _spread(model()).save_pretrained(folder)
        extractor().save_pretrained(folder)

    return make


def _whisper(folder: Path, sound: np.ndarray, layers: Sequence[int]) -> Layers:
    """The encoder of the whole model, its positions cut by hand."""
    extractor = hf.WhisperFeatureExtractor.from_pretrained(folder)
    whole = hf.WhisperModel.from_pretrained(folder).get_encoder()
    positions = round(SECONDS * RATE) // 320
    config = hf.WhisperConfig.from_pretrained(folder)
    config.max_source_positions = positions
    encoder = WhisperEncoder(config).eval()
    weights = whole.state_dict()
    weights["embed_positions.weight"] = weights["embed_positions.weight"][:positions]
    encoder.load_state_dict(weights)
    features = extractor(sound, sampling_rate=RATE, max_length=positions * 320, return_tensors="pt").input_features
    blocks: dict[int, torch.Tensor] = {}
    for number, block in enumerate(encoder.layers, start=1):
        block.register_forward_hook(lambda _m, _i, out, number=number: blocks.__setitem__(number, out))
    with torch.inference_mode():
        last = encoder(features).last_hidden_state[0]
        own = {number: encoder.layer_norm(out)[0] for number, out in blocks.items()}
    torch.testing.assert_close(own[len(encoder.layers)], last)
    real = -(-len(sound) // 320)
    return [own[layer][:real] for layer in layers]


def _wave(folder: Path, sound: np.ndarray, layers: Sequence[int]) -> Layers:
    extractor, model = hf.AutoFeatureExtractor.from_pretrained(folder), hf.AutoModel.from_pretrained(folder).eval()
    inputs = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        output = model(inputs["input_values"], output_hidden_states=True)
        if model.config.do_stable_layer_norm:
            return [model.encoder.layer_norm(output.hidden_states[layer])[0] for layer in layers[:-1]] + [
                output.last_hidden_state[0]
            ]
        return [output.hidden_states[layer][0] for layer in layers]


def _ast_output(folder: Path, sound: np.ndarray) -> tuple[Any, Any]:
    extractor, model = hf.AutoFeatureExtractor.from_pretrained(folder), hf.ASTModel.from_pretrained(folder).eval()
    inputs = extractor(sound, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        return model, model(**inputs, output_hidden_states=True)


def _ast(folder: Path, sound: np.ndarray, layers: Sequence[int]) -> Layers:
    """Patches lie band by band; those of a step are averaged, and steps of padding left out."""
    model, output = _ast_output(folder, sound)
    steps = (1 + (len(sound) - 400) // 160 - 8) // 4 + 1
    bands = (32 - 8) // 4 + 1
    with torch.inference_mode():
        normed = [model.layernorm(output.hidden_states[layer])[0, 2:] for layer in layers]
    return [tokens.reshape(bands, -1, 24).mean(0)[:steps] for tokens in normed]


def _ast_pooled(folder: Path, sound: np.ndarray) -> torch.Tensor:
    pooled: torch.Tensor = _ast_output(folder, sound)[1].pooler_output[0]
    return pooled


def _clap(folder: Path, sound: np.ndarray) -> torch.Tensor:
    extractor, model = hf.AutoFeatureExtractor.from_pretrained(folder), hf.ClapModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model.get_audio_features(**extractor(sound, sampling_rate=RATE, return_tensors="pt"))
    pooled: torch.Tensor = (output if isinstance(output, torch.Tensor) else output.pooler_output)[0]
    return pooled


def _clap_model(fusion: bool) -> Callable[[], Any]:
    audio = CLAP_AUDIO | ({"enable_fusion": True, "fusion_type": "aff_2d"} if fusion else {})
    return lambda: hf.ClapModel(hf.ClapConfig(text_config=CLAP_TEXT, audio_config=audio, projection_dim=16))


def _clap_extractor(truncation: str) -> Callable[[], Any]:
    sizes = {"feature_size": 16, "sampling_rate": RATE, "hop_length": 256, "max_length_s": 1, "frequency_max": 8000}
    return lambda: hf.ClapFeatureExtractor(**sizes, truncation=truncation)


FAMILIES: dict[str, Family] = {
    "whisper": Family(
        _saved(
            lambda: hf.WhisperModel(hf.WhisperConfig(**WHISPER)), lambda: hf.WhisperFeatureExtractor(feature_size=20)
        ),
        _whisper,
    ),
    "wav2vec2": Family(
        _saved(lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**WAVE)), lambda: hf.Wav2Vec2FeatureExtractor()), _wave
    ),
    "wav2vec2 of stable norm": Family(
        _saved(
            lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**WAVE, **STABLE)),
            lambda: hf.Wav2Vec2FeatureExtractor(return_attention_mask=True),
        ),
        _wave,
    ),
    "hubert": Family(
        _saved(lambda: hf.HubertModel(hf.HubertConfig(**WAVE)), lambda: hf.Wav2Vec2FeatureExtractor()), _wave
    ),
    "ast": Family(
        _saved(
            lambda: hf.ASTModel(hf.ASTConfig(**AST)), lambda: hf.ASTFeatureExtractor(num_mel_bins=32, max_length=96)
        ),
        _ast,
        _ast_pooled,
        ("cls", "model", "mean"),
    ),
    "clap": Family(_saved(_clap_model(False), _clap_extractor("rand_trunc")), None, _clap, ("model",)),
    "clap of fusion": Family(_saved(_clap_model(True), _clap_extractor("fusion")), None, _clap, ("model",)),
}
