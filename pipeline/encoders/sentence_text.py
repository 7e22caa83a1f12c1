"""Text models of sentence-transformers: the folder's own modules determine pooling and normalisation."""

from pathlib import Path
from threading import Lock
from typing import Any

import torch

from pipeline.config import EncoderSpec
from pipeline.encoders.hf_weights import SMALLER
from pipeline.encoders.manifest import Description
from pipeline.encoders.memory import explain_out_of_memory
from pipeline.encoders.precision import mixed_precision
from pipeline.encoders.text_encoder import TokenFeatures
from pipeline.encoders.text_limits import default_limit, positions, token_limit
from pipeline.encoders.token_counts import token_counts
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision


def describe_sentence(folder: Path, trust_remote_code: bool) -> Description:
    """Describe a sentence-transformers folder; it is loaded, so a broken one is rejected here.

    Raises:
        CheckpointError: sentence-transformers cannot load the folder, or its first module is not a transformer.
    """
    model = _load(folder, trust_remote_code, torch.float32, "cpu")
    most = positions(model[0].config)
    preprocessing: dict[str, Any] = {
        "modules": [type(module).__name__ for module in model],
        "pooling": _pooling(model),
        "max_tokens": default_limit(model.max_seq_length, most),
        "positions": most,
    }
    if prompts := {name: text for name, text in model.prompts.items() if text}:  # absent otherwise
        preprocessing |= {"prompts": prompts, "default_prompt": model.default_prompt_name}
    return Description(
        architecture=type(model[0].auto_model).__name__,
        width=model.get_embedding_dimension(),
        patch_size=None,
        layers=None,
        prefix_tokens=None,
        preprocessing=preprocessing,
    )


class SentenceText:
    """A `TextEncoder` over a sentence-transformers folder."""

    def __init__(self, folder: Path, spec: EncoderSpec, max_tokens: int | None, device: str) -> None:
        """Load the folder.

        Raises:
            CheckpointError: the folder does not load, has no such prompt, `pooling` is not `model`, or max_tokens is
                above its positions.
        """
        if spec.pooling != "model":
            raise CheckpointError(
                f"{folder.name}: a sentence-transformers folder pools by its own modules, found pooling "
                f"{spec.pooling}; set `pooling: model`, or `loader: transformers` for pooling of your own"
            )
        self._model = _load(folder, spec.trust_remote_code, getattr(torch, spec.dtype), device)
        most = positions(self._model[0].config)
        self.max_tokens = token_limit(max_tokens, default_limit(self._model.max_seq_length, most), most, folder.name)
        self._model.max_seq_length = self.max_tokens
        self.width: int = self._model.get_embedding_dimension()
        self.token_width: int = self._model[0].auto_model.config.hidden_size
        self.device = device
        self.backbone: torch.nn.Module = self._model
        self._prefix = spec.prefix
        self._prompt = _prompt(self._model, spec, folder.name)
        self._autocast = spec.autocast
        self._lock = Lock()

    def lengths(self, texts: list[str]) -> list[int]:
        """See `TextEncoder`."""
        prefixed = [(self._prompt or self._prefix) + text for text in texts]
        with self._lock:
            return token_counts(self._model.tokenizer, prefixed, self.max_tokens)

    @torch.inference_mode()
    def encode(self, texts: list[str], max_tokens: int | None = None) -> torch.Tensor:
        """See `TextEncoder`."""
        embeddings: torch.Tensor = self._forward(texts, max_tokens)["sentence_embedding"]
        return embeddings.float()

    @torch.inference_mode()
    def encode_tokens(self, texts: list[str]) -> TokenFeatures:
        """See `TextEncoder`."""
        out = self._forward(texts)
        return TokenFeatures(
            out["sentence_embedding"].float(), out["token_embeddings"].float(), out["attention_mask"].bool()
        )

    def _forward(self, texts: list[str], max_tokens: int | None = None) -> dict[str, torch.Tensor]:
        with self._lock:  # the tokenizer reads the limit from the model and is not thread-safe
            self._model.max_seq_length = min(max_tokens or self.max_tokens, self.max_tokens)
            features = self._model.preprocess([self._prefix + text for text in texts], prompt=self._prompt)
            self._model.max_seq_length = self.max_tokens
        on_device = {
            key: value.to(self.device) if isinstance(value, torch.Tensor) else value for key, value in features.items()
        }
        with mixed_precision(self.device, self._autocast):
            out: dict[str, torch.Tensor] = self._model(on_device)
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
        with explain_out_of_memory(folder.name, SMALLER):
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
    if not hasattr(model[0], "auto_model"):
        raise CheckpointError(
            f"{folder}: its first module is a {type(model[0]).__name__}; sentence-transformers folders over a "
            "transformer are supported"
        )
    return model


def _pooling(model: Any) -> str | None:
    modes = [module.pooling_mode for module in model if hasattr(module, "pooling_mode")]
    if not modes:
        return None
    return modes[0] if isinstance(modes[0], str) else "+".join(modes[0])
