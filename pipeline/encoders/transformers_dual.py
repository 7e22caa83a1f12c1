"""Dual encoders of transformers (CLIP, SigLIP, ALIGN, BLIP and kin): its own model, processor and tokenizer.

Features are those of `get_image_features` and `get_text_features`.
"""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from pipeline.config import EncoderSpec, ImageView, TextView
from pipeline.encoders.batch_tokens import BatchTokens
from pipeline.encoders.dual import check_text_view, check_view, dual_class
from pipeline.encoders.dual_tower import DualTower
from pipeline.encoders.hf_processor import Processor
from pipeline.encoders.hf_weights import load_weights
from pipeline.encoders.manifest import Description
from pipeline.encoders.precision import mixed_precision
from pipeline.encoders.text_encoder import TextBatch, TokenFeatures
from pipeline.encoders.text_limits import default_limit, positions, token_limit
from pipeline.encoders.token_counts import token_counts
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision

_PADDED = {"siglip", "siglip2"}  # trained on texts that are padded to the full length, without a mask
_VIDEO = {"xclip"}
_SOUND = {"clap"}
_SCALES = ("logit_scale", "logit_scale_t")  # the second of CLAP's texts; its sounds have logit_scale_a


def describe_dual(folder: Path, spec: EncoderSpec) -> Description:
    """Describe one tower of a dual encoder from its configuration, processor and tokenizer.

    Raises:
        CheckpointError: transformers cannot read them, the weights lack a logit scale, or it reads videos.
    """
    config = _config(folder)
    own: dict[str, Any] = {"features": f"{spec.modality}_features", "logit_scale": logit_scale(folder, config)}
    if spec.modality == "image":
        if config.model_type in _VIDEO:
            raise CheckpointError(
                f"{folder}: {config.model_type} reads videos, several pictures at a time, and has no features of one; "
                "choose a model of single pictures. Its texts can be encoded"
            )
        if config.model_type in _SOUND:
            raise CheckpointError(
                f"{folder}: {config.model_type} hears sounds and sees no pictures; set modality: audio"
            )
        own |= Processor(folder).describe()
    else:
        tokenizer = _tokenizer(folder, spec.trust_remote_code)
        most = positions(config.text_config)
        own |= {
            "tokenizer": type(tokenizer).__name__,
            "padding": _padding(config),
            "max_tokens": default_limit(tokenizer.model_max_length, most),
            "positions": most,
        }
        if _lower_cased(config, tokenizer):  # absent otherwise
            own["lower_case"] = True
    return Description(
        architecture=str(dual_class(folder)),
        width=_width(config),
        patch_size=None,
        layers=None,
        prefix_tokens=None,
        preprocessing=own,
    )


def load_dual_tower(folder: Path, spec: EncoderSpec, view: ImageView, device: str) -> DualTower:
    """The image tower of a dual encoder.

    Raises:
        CheckpointError: the checkpoint lacks weights, or the view does not fit it.
    """
    processor = Processor(folder)
    check_view(view, spec, processor.resolution, folder.name)
    model = _load(folder, spec, device)
    _drop(model, "text_model", "multimodal_model")
    dtype = getattr(torch, spec.dtype)

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        return _features(model.get_image_features(pixel_values=pixels.to(dtype)))

    return DualTower(processor, encode, _width(_config(folder)), model)


class DualText:
    """A `TextEncoder` over the text tower of a dual encoder of transformers."""

    def __init__(self, folder: Path, spec: EncoderSpec, view: TextView, device: str) -> None:
        """Load model and tokenizer.

        Raises:
            CheckpointError: they do not load, weights are missing, or the view does not fit them.
        """
        check_text_view(view, folder.name)
        config = _config(folder)
        self._tokenizer = _tokenizer(folder, spec.trust_remote_code)
        most = positions(config.text_config)
        limit = default_limit(self._tokenizer.model_max_length, most)
        self.max_tokens = token_limit(view.max_tokens, limit, most, folder.name)
        self.width = self.token_width = _width(config)
        self._padding = _padding(config)
        self.lower_case = _lower_cased(config, self._tokenizer)
        self._full = limit or self.max_tokens
        self._model = _load(folder, spec, device)
        _drop(self._model, "vision_model", "image_model", "multimodal_model", "audio_model")
        self.backbone: torch.nn.Module = self._model
        self.device = device
        self._autocast = spec.autocast
        self._prefix = spec.prefix
        self._lock = Lock()
        length = self._full if self._padding == "max_length" else None
        self._tokens = BatchTokens.proven(self._tokenizer, self._padded, self.max_tokens, length=length)

    def lengths(self, texts: list[str]) -> list[int]:
        """See `TextEncoder`."""
        with self._lock:
            if self._tokens is not None:
                return self._tokens.counts(self._prefixed(texts), self.max_tokens)
            return token_counts(self._tokenizer, self._prefixed(texts), self.max_tokens)

    def prepare(self, texts: list[str], max_tokens: int | None = None) -> TextBatch:
        """See `TextEncoder`."""
        limit = min(max_tokens or self.max_tokens, self.max_tokens)
        with self._lock:
            return TextBatch((self._tokens or self._padded)(self._prefixed(texts), limit))

    @torch.inference_mode()
    def encode(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> torch.Tensor:
        """See `TextEncoder`."""
        prepared = texts if isinstance(texts, TextBatch) else self.prepare(texts, max_tokens)
        batch = {key: value.to(self.device) for key, value in prepared.inputs.items()}
        with mixed_precision(self.device, self._autocast):
            return _features(self._model.get_text_features(**batch)).float()

    def encode_tokens(self, texts: list[str] | TextBatch) -> TokenFeatures:
        """See `TextEncoder`; a view that asks for it is refused when it is loaded."""
        raise NotImplementedError("a dual encoder gives one vector per text and no tokens")

    def _padded(self, texts: list[str], limit: int) -> Any:
        if self._padding == "max_length" and limit < self._full:  # cut here, padded to the length it was trained at
            batch = self._tokenizer(texts, truncation=True, max_length=limit)
            return self._tokenizer.pad(batch, padding="max_length", max_length=self._full, return_tensors="pt")
        return self._tokenizer(texts, truncation=True, max_length=limit, padding=self._padding, return_tensors="pt")

    def _prefixed(self, texts: list[str]) -> list[str]:
        prefixed = [self._prefix + text for text in texts]
        return [text.lower() for text in prefixed] if self.lower_case else prefixed


def _drop(model: Any, *towers: str) -> None:
    """Free what is not needed, half of the memory or more."""
    for tower in filter(partial(hasattr, model), towers):
        delattr(model, tower)


def _lower_cased(config: Any, tokenizer: Any) -> bool:
    """Whether texts are lower-cased here: SigLIP2 of fixed size was trained so, and its Gemma tokenizer keeps case."""
    return config.model_type == "siglip" and type(tokenizer).__name__.startswith("Gemma")


def _features(output: Any) -> torch.Tensor:
    """The projected features; older versions returned the tensor itself, and FLAVA projects every token."""
    features: torch.Tensor = output if isinstance(output, torch.Tensor) else output.pooler_output
    return features[:, 0] if features.ndim == 3 else features  # its contrastive loss compares the first


def _config(folder: Path) -> Any:
    ensure_torchvision()
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: expected a config.json that transformers knows: {error}") from error


def _tokenizer(folder: Path, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise CheckpointError(f"transformers cannot load the tokenizer of {folder}: {error}") from error


def _width(config: Any) -> int:
    """Length of the features: SigLIP's text tower projects to that of its images, most others to `projection_dim`."""
    if config.model_type in _PADDED or config.model_type == "tipsv2":
        return int(config.vision_config.hidden_size)
    return int(config.projection_dim)


def _padding(config: Any) -> str:
    return "max_length" if config.model_type in _PADDED else "longest"


def _load(folder: Path, spec: EncoderSpec, device: str) -> Any:
    import transformers

    return load_weights(getattr(transformers, str(dual_class(folder))), folder, spec, device, unused=lambda _key: False)


def logit_scale(folder: Path, config: Any, names: Sequence[str] = _SCALES) -> float:
    """The learned scale, the logarithm of one over the temperature, read without loading the model.

    Args:
        names: of the weight.

    Raises:
        CheckpointError: there is no such weight.
    """
    from safetensors import SafetensorError, safe_open

    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as weights:
                for name in weights.keys():  # noqa: SIM118 (no mapping)
                    if name.rpartition(".")[2] in names:  # below a detector's or segmenter's own layers
                        return float(weights.get_tensor(name).float().item())
                    if name == "temperature":  # of ALIGN, which divides by it
                        return -math.log(float(weights.get_tensor(name).float().item()))
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is not a safetensors file: {error}") from error
    if hasattr(config, "temperature_init_value"):  # of TIPSv2, which is published without that weight
        return -math.log(config.temperature_init_value)
    raise CheckpointError(f"{folder}: expected a dual encoder with a weight logit_scale, found none; is it all there?")
