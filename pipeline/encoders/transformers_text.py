"""Text models of transformers with one of three poolings over their last hidden state."""

from pathlib import Path
from typing import Any

import torch

from pipeline.config.schema import EncoderSpec
from pipeline.encoders.dual import dual_class
from pipeline.encoders.manifest import Description
from pipeline.encoders.text import TokenFeatures
from pipeline.encoders.text_limits import own_limit, positions, token_limit
from pipeline.encoders.torchvision_mend import ensure_torchvision
from pipeline.errors import CheckpointError

_POOLINGS = ("mean", "cls", "last")
_UNUSED_WEIGHTS = ("pooler.",)  # on top of the last hidden state, which is what is pooled here


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
            "padding_side": tokenizer.padding_side,
            "pooling": None,
            "max_tokens": own_limit(tokenizer.model_max_length, most),
            "positions": most,
        },
    )


class TransformersText:
    """A `TextEncoder` over AutoModel and its tokenizer."""

    def __init__(self, folder: Path, spec: EncoderSpec, max_tokens: int | None, device: str) -> None:
        """Load model and tokenizer.

        Raises:
            CheckpointError: they do not load, weights are missing, `pooling` is `model`, or max_tokens is above the
                model's positions.
        """
        if spec.pooling not in _POOLINGS:
            raise CheckpointError(
                f"{folder.name}: expected pooling {', '.join(_POOLINGS)} with loader transformers, found {spec.pooling}"
            )
        config, self._tokenizer = _parts(folder, spec.trust_remote_code)
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token  # padding is masked, so any token will do
        most = positions(config)
        self.max_tokens = token_limit(max_tokens, own_limit(self._tokenizer.model_max_length, most), most, folder.name)
        self.width: int = config.hidden_size
        self.token_width: int = config.hidden_size
        self._model = _load(folder, spec, device)
        self._pooling = spec.pooling
        self._prefix = spec.prefix

    def lengths(self, texts: list[str]) -> list[int]:
        """See `TextEncoder`."""
        return [len(ids) for ids in self._tokenize(texts, self.max_tokens)["input_ids"]]

    @torch.inference_mode()
    def encode(self, texts: list[str], max_tokens: int | None = None) -> torch.Tensor:
        """See `TextEncoder`."""
        return pool(*self._hidden(texts, max_tokens), self._pooling)

    @torch.inference_mode()
    def encode_tokens(self, texts: list[str]) -> TokenFeatures:
        """See `TextEncoder`."""
        hidden, mask = self._hidden(texts)
        return TokenFeatures(pool(hidden, mask, self._pooling), hidden, mask.bool())

    def _hidden(self, texts: list[str], max_tokens: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Last hidden state (B, T, H) float32 and attention mask (B, T)."""
        limit = min(max_tokens or self.max_tokens, self.max_tokens)
        batch = self._tokenize(texts, limit, padding=True, return_tensors="pt").to(self._model.device)
        return self._model(**batch).last_hidden_state.float(), batch["attention_mask"]

    def _tokenize(self, texts: list[str], limit: int, **options: Any) -> Any:
        prefixed = [self._prefix + text for text in texts]
        return self._tokenizer(prefixed, truncation=True, max_length=limit, **options)


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

    options = {"local_files_only": True, "trust_remote_code": trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(folder, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    except (OSError, ValueError, ImportError) as error:
        raise CheckpointError(f"transformers cannot load configuration and tokenizer of {folder}: {error}") from error
    if dual_class(folder) is not None:
        raise CheckpointError(f"{folder}: {config.model_type} is a dual encoder; its text tower needs `pooling: model`")
    if config.is_encoder_decoder:
        raise CheckpointError(
            f"{folder}: {config.model_type} is an encoder-decoder; use a sentence-transformers folder of it"
        )
    return config, tokenizer


def _load(folder: Path, spec: EncoderSpec, device: str) -> Any:
    from transformers import AutoModel

    model, report = AutoModel.from_pretrained(
        folder,
        dtype=getattr(torch, spec.dtype),
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=spec.trust_remote_code,
        output_loading_info=True,
    )
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(_UNUSED_WEIGHTS))
    if missing:
        raise CheckpointError(f"{folder} lacks weights that {type(model).__name__} needs: {', '.join(missing[:4])}")
    return model.eval().to(device)
