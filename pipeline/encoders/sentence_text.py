"""Text models of sentence-transformers: the folder's own modules determine pooling and normalisation."""

from pathlib import Path
from threading import Lock
from typing import Any

import torch

from pipeline.config import EncoderSpec, TextView
from pipeline.encoders.batch_tokens import BatchTokens
from pipeline.encoders.hf_weights import SMALLER
from pipeline.encoders.manifest import Description
from pipeline.encoders.memory import explain_out_of_memory
from pipeline.encoders.padding import joined, padding_enters, same_length
from pipeline.encoders.precision import mixed_precision
from pipeline.encoders.quiet import quiet_loading
from pipeline.encoders.sentence_input import UNLIMITED, SentenceInput
from pipeline.encoders.text_encoder import TextBatch, TokenFeatures
from pipeline.encoders.text_limits import token_limit
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision


def describe_sentence(folder: Path, trust_remote_code: bool) -> Description:
    """Describe a sentence-transformers folder; it is loaded, so a broken one is rejected here.

    Raises:
        CheckpointError: sentence-transformers cannot load the folder, or its first module takes no texts that are
            counted in tokens (see `SentenceInput`).
    """
    model = _load(folder, trust_remote_code, torch.float32, "cpu")
    first = SentenceInput(model, str(folder))
    preprocessing: dict[str, Any] = {
        "modules": [type(module).__name__ for module in model],
        "pooling": _pooling(model),
        "max_tokens": first.limit,
        "positions": first.positions,
    }
    if model.truncate_dim is not None:  # absent otherwise
        preprocessing["truncate_dim"] = model.truncate_dim
    if prompts := {name: text for name, text in model.prompts.items() if text}:  # absent otherwise
        preprocessing |= {"prompts": prompts, "default_prompt": model.default_prompt_name}
    return Description(
        architecture=first.name,
        width=_width(model),
        patch_size=None,
        layers=None,
        prefix_tokens=None,
        preprocessing=preprocessing,
    )


class SentenceText:
    """A `TextEncoder` over a sentence-transformers folder."""

    def __init__(self, folder: Path, spec: EncoderSpec, view: TextView, device: str) -> None:
        """Load the folder.

        Raises:
            CheckpointError: the folder does not load, has no such prompt, `pooling` is not `model`, max_tokens is
                above its positions, or the view asks for tokens or a limit that the folder does not know.
        """
        if spec.pooling != "model":
            raise CheckpointError(
                f"{folder.name}: a sentence-transformers folder pools by its own modules, found pooling "
                f"{spec.pooling}; set `pooling: model`, or `loader: transformers` for pooling of your own"
            )
        self._model = _load(folder, spec.trust_remote_code, getattr(torch, spec.dtype), device)
        self._first = first = SentenceInput(self._model, str(folder))
        if not first.cuts and view.max_tokens is not None:
            raise CheckpointError(f"{folder.name}: a {first.name} reads whole texts; leave out max_tokens of the view")
        if view.tier == "full" and first.hidden is None:
            raise CheckpointError(f"{folder.name}: a {first.name} gives no features of tokens; leave out `tier: full`")
        default = first.limit if first.cuts else UNLIMITED
        self.max_tokens = token_limit(view.max_tokens, default, first.positions, folder.name)
        first.cut_at(self.max_tokens)
        self.width: int = _width(self._model)
        self.token_width: int = first.hidden or self.width
        self.device = device
        self.backbone: torch.nn.Module = self._model
        self._prefix = spec.prefix
        self._prompt = _prompt(self._model, spec, folder.name)
        self._autocast = spec.autocast
        self._lock = Lock()
        self._tokens = None
        if first.cuts:
            self._tokens = BatchTokens.proven(first.tokenizer, self._preprocessed, self.max_tokens, self._prompt or "")
        short = spec.dtype != "float32" or spec.autocast is not None
        self._by_length = False
        self._by_length = first.cuts and padding_enters(self.encode, short)

    def lengths(self, texts: list[str]) -> list[int]:
        """See `TextEncoder`."""
        with self._lock:
            if self._tokens is not None:
                return self._tokens.counts([self._prefix + text for text in texts], self.max_tokens)
            return self._first.counts([(self._prompt or self._prefix) + text for text in texts], self.max_tokens)

    def prepare(self, texts: list[str], max_tokens: int | None = None) -> TextBatch:
        """See `TextEncoder`."""
        limit = min(max_tokens or self.max_tokens, self.max_tokens)
        prefixed = [self._prefix + text for text in texts]
        with self._lock:  # the tokenizer reads the limit from the model and is not thread-safe
            return TextBatch((self._tokens or self._preprocessed)(prefixed, limit))

    @torch.inference_mode()
    def encode(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> torch.Tensor:
        """See `TextEncoder`."""
        embeddings: torch.Tensor = self._forward(texts, max_tokens)["sentence_embedding"]
        return embeddings.float()

    @torch.inference_mode()
    def encode_tokens(self, texts: list[str] | TextBatch) -> TokenFeatures:
        """See `TextEncoder`."""
        out = self._forward(texts)
        return TokenFeatures(
            out["sentence_embedding"].float(), out["token_embeddings"].float(), out["attention_mask"].bool()
        )

    def _preprocessed(self, texts: list[str], limit: int) -> Any:
        self._first.cut_at(limit)
        features = self._model.preprocess(texts, prompt=self._prompt)
        self._first.cut_at(self.max_tokens)
        return features

    def _forward(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> dict[str, torch.Tensor]:
        batch = texts if isinstance(texts, TextBatch) else self.prepare(texts, max_tokens)
        on_device = {
            key: value.to(self.device) if isinstance(value, torch.Tensor) else value
            for key, value in batch.inputs.items()
        }
        if not self._by_length:
            return self._run(on_device)
        parts = [(rows, self._run(part)) for rows, part in same_length(on_device)]
        mask = [(rows, torch.ones_like(found["token_embeddings"][..., :1])) for rows, found in parts]
        named = ("sentence_embedding", "token_embeddings")
        found = {name: joined([(rows, part[name]) for rows, part in parts]) for name in named}
        return found | {"attention_mask": joined(mask)[..., 0]}

    def _run(self, on_device: dict[str, Any]) -> dict[str, torch.Tensor]:
        with mixed_precision(self.device, self._autocast):
            out: dict[str, torch.Tensor] = self._model(on_device)
        out["sentence_embedding"] = out["sentence_embedding"][..., : self._model.truncate_dim]  # as its `encode` does
        return out


def _prompt(model: Any, spec: EncoderSpec, where: str) -> str | None:
    """The prompt that `SentenceTransformer.encode` would use; None with a prefix, which replaces it.

    Raises:
        CheckpointError: the folder has no prompt of that name.
    """
    if spec.prompt is None:
        default = model.default_prompt_name
        return None if spec.prefix or default is None else str(model.prompts[default])
    if spec.prompt and spec.prompt not in model.prompts:
        named = ", ".join(sorted(model.prompts)) or "none"
        raise CheckpointError(
            f"{where}: the folder has no prompt {spec.prompt!r}, it has: {named}; or write the string as `prefix`"
        )
    return str(model.prompts[spec.prompt]) if spec.prompt else ""


def _load(folder: Path, trust_remote_code: bool, dtype: torch.dtype, device: str) -> Any:
    ensure_torchvision()
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer

    if not (folder / "modules.json").is_file():
        raise CheckpointError(f"{folder}: expected modules.json of sentence-transformers; use `loader: transformers`")
    try:
        with explain_out_of_memory(folder.name, SMALLER), quiet_loading() as missing:
            model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=trust_remote_code,
                model_kwargs={"use_safetensors": True, "dtype": dtype},
            ).eval()
    except (OSError, RuntimeError, ValueError, TypeError, ImportError, KeyError, SafetensorError) as error:
        raise CheckpointError(
            f"sentence-transformers cannot load {folder}: {' '.join(str(error).split())[:400]}"
        ) from error
    if lacking := [name for name in missing if "pooler" not in name]:  # which sentence-transformers does not use
        raise CheckpointError(f"{folder} lacks weights that its architecture has: {', '.join(lacking[:4])}")
    return model if hasattr(model[0], "auto_model") else model.to(dtype)


def _width(model: Any) -> int:
    """Length of what `SentenceTransformer.encode` gives, after `truncate_dim`; tried where no module tells it."""
    width = model.get_embedding_dimension()
    return int(model.encode("a").shape[-1] if width is None else width)


def _pooling(model: Any) -> str | None:
    modes = [module.pooling_mode for module in model if hasattr(module, "pooling_mode")]
    if not modes:
        return None
    return modes[0] if isinstance(modes[0], str) else "+".join(modes[0])
