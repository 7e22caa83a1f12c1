"""Text models of transformers: encoders, decoders (LLMs) and the text towers of CLIP and SigLIP.

Texts are padded on the right whatever side the tokenizer prefers: a decoder's tokens do not see what follows them, an
encoder's are masked, and absolute positions then start at the text. So a text's features do not depend on its batch;
families of which that is not true run texts of one length at a time (`padding`).
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
from pipeline.encoders.memory import is_out_of_memory
from pipeline.encoders.padding import joined, padding_enters, same_length
from pipeline.encoders.precision import mixed_precision
from pipeline.encoders.text_encoder import TextBatch, TokenFeatures
from pipeline.encoders.text_limits import default_limit, positions, token_limit
from pipeline.encoders.token_counts import token_counts
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision

_IDS = "input_ids"
_POOLINGS = ("mean", "cls", "last", "model")
_POOLERS = ("pooler.", "head.")  # on top of the last hidden state, used with `pooling: model` alone
_PADDED = {
    "siglip_text_model",
    "siglip2_text_model",
}  # trained on texts that are padded to the full length, without a mask


def describe_text(folder: Path, trust_remote_code: bool) -> Description:
    """Describe a text checkpoint of transformers from its configuration and tokenizer.

    Raises:
        CheckpointError: transformers does not know it, it is an encoder-decoder, or it does not read texts.
    """
    config, tokenizer, _ = _parts(folder, trust_remote_code)
    most = positions(config)
    return Description(
        architecture=(config.architectures or [config.model_type])[0],
        width=_width(config),
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
            CheckpointError: they do not load, weights are missing, the model lacks the requested pooling or gives no
                features of texts alone, or max_tokens is above the model's positions.
        """
        config, self._tokenizer, model_class = _parts(folder, spec.trust_remote_code)
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
        self.width: int = _width(config)
        self.token_width: int = self.width
        self.device = device
        self._model = _load(folder, model_class, spec, device)
        self.backbone: torch.nn.Module = self._model
        self._pooling = spec.pooling
        self._prefix = spec.prefix
        self._autocast = spec.autocast
        self._lock = Lock()
        self._tokens = BatchTokens.proven(self._tokenizer, self._tokenised, self.max_tokens, length=self._full)
        self._by_length = False
        self._try(folder.name, short=spec.dtype != "float32" or spec.autocast is not None)

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
        if not self._by_length:
            return self._run(batch)
        parts = [(rows, self._run(part)) for rows, part in same_length(batch)]
        pooled = joined([(rows, found.pooled) for rows, found in parts])
        return TokenFeatures(
            pooled, joined([(rows, found.tokens) for rows, found in parts]), batch["attention_mask"].bool()
        )

    def _run(self, batch: dict[str, torch.Tensor]) -> TokenFeatures:
        with mixed_precision(self.device, self._autocast):
            output = self._model(**batch)
        hidden = output.last_hidden_state.float()
        mask = batch["attention_mask"] if "attention_mask" in batch else torch.ones_like(batch["input_ids"])
        pooled = self._own_pooled(output) if self._pooling == "model" else pool(hidden, mask, self._pooling)
        return TokenFeatures(pooled, hidden, mask.bool())

    def _try(self, where: str, short: bool) -> None:
        """Encode a text, since some models that read texts need pictures, boxes or more beside them.

        Args:
            short: it computes in 16 bits.
        """
        batch = self.prepare(["a"])
        if not batch.inputs["input_ids"].shape[1]:
            return
        name = type(self._model).__name__
        try:
            with torch.inference_mode():
                found = self._forward(batch)
                self._by_length = self._full is None and padding_enters(
                    lambda texts: self._forward(texts).pooled, short
                )
        except Exception as error:
            if isinstance(error, CheckpointError) or is_out_of_memory(error):
                raise
            raise CheckpointError(
                f"{where}: {name} gives no features of texts alone ({type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}); choose a model of texts"
            ) from error
        for values in (found.pooled, found.tokens):
            if values.shape[-1] != self.width:
                raise CheckpointError(
                    f"{where}: {name} gives features of width {values.shape[-1]}, and its config.json says "
                    f"{self.width}; such a model is not supported"
                )

    def _own_pooled(self, output: Any) -> torch.Tensor:
        pooled = getattr(output, "pooler_output", None)
        if pooled is None:
            raise CheckpointError(
                f"{type(self._model).__name__} has no pooled output of its own; set `pooling` to mean, cls or last"
            )
        own: torch.Tensor = pooled.float()
        return own

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


def _parts(folder: Path, trust_remote_code: bool) -> tuple[Any, Any, Any]:
    """Configuration of the texts, tokenizer, and the class of transformers that loads the model."""
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
    model_class = _model_class(config, folder, trust_remote_code)
    config = config.get_text_config()
    if getattr(config, "hidden_size", None) is None or getattr(config, "vocab_size", None) is None:
        raise CheckpointError(f"{folder}: {config.model_type} is not a text model that transformers gives features of")
    return config, tokenizer, model_class


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


def _model_class(config: Any, folder: Path, trust_remote_code: bool) -> Any:
    """What loads the model: AutoModel where it knows the type, else the class that is named as the configuration.

    Raises:
        CheckpointError: there is none, or it does not read texts.
    """
    import transformers

    remote = trust_remote_code and "AutoModel" in (getattr(config, "auto_map", None) or {})
    if remote:
        return transformers.AutoModel
    try:
        found = transformers.AutoModel._model_mapping[type(config)]
        loads, classes = transformers.AutoModel, found if isinstance(found, tuple) else (found,)
    except KeyError:  # a tower of a larger model, in a folder of its own
        loads = getattr(transformers, type(config).__name__.removesuffix("Config") + "Model", None)
        classes = (loads,)
    reads = [getattr(one, "input_modalities", "text") for one in classes if getattr(one, "main_input_name", "") == _IDS]
    if loads is None or not any("text" in modalities for modalities in reads):
        raise CheckpointError(
            f"{folder}: {config.model_type} is not a model of texts that transformers gives features of"
        )
    return loads


def _width(config: Any) -> int:
    """Length of the features: OPT may project its last hidden states."""
    return int(getattr(config, "word_embed_proj_dim", None) or config.hidden_size)


def _load(folder: Path, model_class: Any, spec: EncoderSpec, device: str) -> Any:
    if spec.pooling not in _POOLINGS:
        raise CheckpointError(
            f"{folder.name}: expected pooling {', '.join(_POOLINGS)} with loader transformers, found {spec.pooling}"
        )
    own_pooling = spec.pooling == "model"
    model = load_weights(
        model_class,
        folder,
        spec,
        device,
        unused=lambda key: not own_pooling and key.startswith(_POOLERS),
        wanted=" for pooling model" * own_pooling,
    )
    model.config.use_cache = False  # keys and values of a decoder, for generating
    return model
