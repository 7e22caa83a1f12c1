"""Text models of transformers: encoders, decoders (LLMs) and the text towers of CLIP and SigLIP.

Texts are padded on the right whatever side the tokenizer prefers: a decoder's tokens do not see what follows them, an
encoder's are masked, and absolute positions then start at the text. So a text's features do not depend on its batch.
"""

from pathlib import Path
from threading import Lock
from typing import Any

import torch

from pipeline.config import EncoderSpec
from pipeline.encoders.batch_tokens import BatchTokens
from pipeline.encoders.dual import DUAL_CLASSES, dual_class
from pipeline.encoders.hf_weights import load_weights
from pipeline.encoders.manifest import Description
from pipeline.encoders.precision import mixed_precision
from pipeline.encoders.text_encoder import TextBatch, TokenFeatures
from pipeline.encoders.text_limits import default_limit, positions, token_limit
from pipeline.encoders.token_counts import token_counts
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision

_POOLINGS = ("mean", "cls", "last", "model")
_POOLERS = ("pooler.", "head.")  # on top of the last hidden state, used with `pooling: model` alone
_TOWERS = {"clip_text_model": "CLIPTextModel", "siglip_text_model": "SiglipTextModel"}  # they pool by themselves
_PADDED = {"siglip_text_model"}  # trained on texts that are padded to the full length, without a mask


def describe_text(folder: Path, trust_remote_code: bool) -> Description:
    """Describe a text checkpoint of transformers from its configuration and tokenizer.

    Raises:
        CheckpointError: transformers does not know it, or it is an encoder-decoder.
    """
    config, tokenizer = _parts(folder, trust_remote_code)
    most = positions(config)
    return Description(
        architecture=(config.architectures or [config.model_type])[0],
        width=config.hidden_size,
        patch_size=None,
        layers=config.num_hidden_layers,
        prefix_tokens=None,
        preprocessing={
            "tokenizer": type(tokenizer).__name__,
            "padding_side": "right",  # whatever the tokenizer prefers
            "pooling": None,
            "max_tokens": default_limit(tokenizer.model_max_length, most),
            "positions": most,
        },
    )


class TransformersText:
    """A `TextEncoder` over AutoModel and its tokenizer."""

    def __init__(self, folder: Path, spec: EncoderSpec, max_tokens: int | None, device: str) -> None:
        """Load model and tokenizer.

        Raises:
            CheckpointError: they do not load, weights are missing, the model lacks the requested pooling, or
                max_tokens is above the model's positions.
        """
        config, self._tokenizer = _parts(folder, spec.trust_remote_code)
        self._tokenizer.padding_side = "right"
        self._full = _pads_to(config, self._tokenizer)
        if self._tokenizer.pad_token is None:  # padding is masked, so any token will do
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
        if self._tokenizer.pad_token is None:
            raise CheckpointError(
                f"{folder.name}: its tokenizer names no token for padding; set pad_token in its files"
            )
        if self._full and spec.pooling != "model":
            raise CheckpointError(
                f"{folder.name}: {config.model_type} was trained without a mask over its padding; set `pooling: model`"
            )
        most = positions(config)
        self.max_tokens = token_limit(
            max_tokens, default_limit(self._tokenizer.model_max_length, most), most, folder.name
        )
        self.width: int = config.hidden_size
        self.token_width: int = config.hidden_size
        self.device = device
        self._model = _load(folder, config, spec, device)
        self.backbone: torch.nn.Module = self._model
        self._pooling = spec.pooling
        self._prefix = spec.prefix
        self._autocast = spec.autocast
        self._lock = Lock()
        self._tokens = BatchTokens.proven(self._tokenizer, self._tokenised, self.max_tokens, length=self._full)

    def lengths(self, texts: list[str]) -> list[int]:
        """See `TextEncoder`."""
        with self._lock:
            if self._tokens is not None:
                return self._tokens.counts(self._prefixed(texts), self.max_tokens)
            return token_counts(self._tokenizer, self._prefixed(texts), self.max_tokens)

    def prepare(self, texts: list[str], max_tokens: int | None = None) -> TextBatch:
        """See `TextEncoder`."""
        limit = min(max_tokens or self.max_tokens, self.max_tokens)
        with self._lock:  # fast tokenizers are not thread-safe
            return TextBatch((self._tokens or self._tokenised)(self._prefixed(texts), limit))

    @torch.inference_mode()
    def encode(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> torch.Tensor:
        """See `TextEncoder`."""
        return self._forward(texts, max_tokens).pooled

    @torch.inference_mode()
    def encode_tokens(self, texts: list[str] | TextBatch) -> TokenFeatures:
        """See `TextEncoder`."""
        return self._forward(texts)

    def _forward(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> TokenFeatures:
        prepared = texts if isinstance(texts, TextBatch) else self.prepare(texts, max_tokens)
        batch = {key: value.to(self.device) for key, value in prepared.inputs.items()}
        with mixed_precision(self.device, self._autocast):
            output = self._model(**batch)
        hidden = output.last_hidden_state.float()
        mask = batch["attention_mask"] if "attention_mask" in batch else torch.ones_like(batch["input_ids"])
        pooled = output.pooler_output.float() if self._pooling == "model" else pool(hidden, mask, self._pooling)
        return TokenFeatures(pooled, hidden, mask.bool())

    def _tokenised(self, texts: list[str], limit: int) -> Any:
        cutting: dict[str, Any] = {"truncation": True, "max_length": limit}
        if not self._full:
            return self._tokenizer(texts, padding=True, return_tensors="pt", return_attention_mask=True, **cutting)
        cut = self._tokenizer(texts, **cutting)  # cut here, padded to the length it was trained at
        options = {"padding": "max_length", "max_length": self._full, "return_attention_mask": False}
        return self._tokenizer.pad({"input_ids": cut["input_ids"]}, return_tensors="pt", **options)

    def _prefixed(self, texts: list[str]) -> list[str]:
        return [self._prefix + text for text in texts]


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """Pool token features over the tokens that are not padding, whichever side the padding is on.

    Args:
        hidden: (B, T, D).
        mask: (B, T), 1 for a token and 0 for padding.
        pooling: `mean`, `cls` (the first token) or `last` (the last token).

    Returns:
        (B, D).
    """
    if pooling == "mean":
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    first, last = mask.argmax(dim=1), mask.shape[1] - 1 - mask.flip(1).argmax(dim=1)
    index = first if pooling == "cls" else last
    return hidden[torch.arange(len(hidden), device=hidden.device), index]


def _parts(folder: Path, trust_remote_code: bool) -> tuple[Any, Any]:
    ensure_torchvision()
    from transformers import AutoConfig, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CheckpointError(
            f"transformers cannot load configuration and tokenizer of {folder}: {' '.join(str(error).split())[:400]}"
        ) from error
    if dual_class(folder) is not None:
        raise CheckpointError(f"{folder}: {config.model_type} is a dual encoder; its text tower needs `pooling: model`")
    if _gives_text_features(config):
        raise CheckpointError(
            f"{folder}: {config.model_type} is a model of two towers that is not supported; these are: "
            f"{', '.join(sorted(DUAL_CLASSES))}"
        )
    if config.is_encoder_decoder:
        raise CheckpointError(
            f"{folder}: {config.model_type} is an encoder-decoder; use a sentence-transformers folder of it"
        )
    config = config.get_text_config()
    if getattr(config, "hidden_size", None) is None or getattr(config, "vocab_size", None) is None:
        raise CheckpointError(f"{folder}: {config.model_type} is not a text model that transformers gives features of")
    return config, tokenizer


def _gives_text_features(config: Any) -> bool:
    """Whether its model has a text tower beside another one, and needs inputs of both otherwise."""
    from transformers import AutoModel

    try:
        found = AutoModel._model_mapping[type(config)]
    except KeyError:
        return False
    return any(hasattr(model, "get_text_features") for model in (found if isinstance(found, tuple) else (found,)))


def _pads_to(config: Any, tokenizer: Any) -> int | None:
    """The length to which every text is padded; None where padding is masked and any length will do."""
    if config.model_type not in _PADDED:
        return None
    return default_limit(tokenizer.model_max_length, positions(config))


def _load(folder: Path, config: Any, spec: EncoderSpec, device: str) -> Any:
    import transformers

    if spec.pooling not in _POOLINGS:
        raise CheckpointError(
            f"{folder.name}: expected pooling {', '.join(_POOLINGS)} with loader transformers, found {spec.pooling}"
        )
    own_pooling = spec.pooling == "model"
    model_class = getattr(transformers, _TOWERS.get(config.model_type, "AutoModel"))
    model = load_weights(
        model_class,
        folder,
        spec,
        device,
        unused=lambda key: not own_pooling and key.startswith(_POOLERS),
        wanted=" for pooling model" * own_pooling,
    )
    if own_pooling and config.model_type not in _TOWERS and getattr(model, "pooler", None) is None:
        raise CheckpointError(
            f"{folder.name}: {type(model).__name__} has no pooled output of its own; set `pooling` to mean, cls or last"
        )
    model.config.use_cache = False  # keys and values of a decoder, for generating
    return model
