"""Dual encoders of open_clip (CLIP, XLM-R CLIP, nllb-CLIP, SigLIP): its own model, transform and tokenizer."""

from pathlib import Path
from threading import Lock
from typing import Any

import torch

from pipeline.config import EncoderSpec, ImageView, TextView
from pipeline.encoders.dual import check_text_view, check_view
from pipeline.encoders.dual_tower import DualTower
from pipeline.encoders.hf_weights import SMALLER
from pipeline.encoders.manifest import Description
from pipeline.encoders.memory import explain_out_of_memory
from pipeline.encoders.open_clip_parts import TOKENIZER, import_open_clip, read_config, text_model_folder
from pipeline.encoders.precision import mixed_precision
from pipeline.encoders.text_encoder import TextBatch, TokenFeatures
from pipeline.encoders.text_limits import token_limit
from pipeline.errors import CheckpointError

_PRECISION = {"float32": "fp32", "float16": "pure_fp16", "bfloat16": "pure_bf16"}


def describe_open_clip(folder: Path, modality: str) -> Description:
    """Describe one tower of an open_clip folder; the model is loaded, so a broken folder is rejected here.

    Raises:
        CheckpointError: open_clip is not installed or cannot load the folder.
    """
    model = _create(folder, "float32", "cpu")
    own: dict[str, Any] = {"features": f"{modality}_features", "logit_scale": float(model.logit_scale.detach().item())}
    if modality == "image":
        data = model.visual.preprocess_cfg
        own |= {key: list(value) if isinstance(value, tuple) else value for key, value in data.items()}
    else:
        tokenizer = _tokenizer(folder)
        own |= {"tokenizer": type(tokenizer).__name__, "max_tokens": tokenizer.context_length}
    return Description(
        architecture=type(model).__name__,
        width=int(read_config(folder)["model_cfg"]["embed_dim"]),
        patch_size=None,
        layers=None,
        prefix_tokens=None,
        preprocessing=own,
    )


def load_open_clip_tower(folder: Path, spec: EncoderSpec, view: ImageView, device: str) -> DualTower:
    """The image tower of an open_clip folder; `encode_image` of the library is this tower.

    Raises:
        CheckpointError: open_clip is not installed or cannot load the folder, or the view does not fit it.
    """
    transforms = import_open_clip().transform
    visual = _create(folder, spec.dtype, device).visual
    size = visual.preprocess_cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise CheckpointError(f"{folder.name}: expected a square input, found {height} x {width}")
    check_view(view, spec, height, folder.name)
    transform = transforms.image_transform_v2(transforms.PreprocessCfg(**visual.preprocess_cfg), is_train=False)
    dtype = getattr(torch, spec.dtype)

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        output = visual(pixels.to(dtype))
        features: torch.Tensor = output[0] if isinstance(output, tuple) else output  # some give their tokens as well
        return features

    return DualTower(transform, encode, int(read_config(folder)["model_cfg"]["embed_dim"]), visual)


class OpenClipText:
    """A `TextEncoder` over the text tower of an open_clip folder and its tokenizer, which pads to a fixed length."""

    def __init__(self, folder: Path, spec: EncoderSpec, view: TextView, device: str) -> None:
        """Load model and tokenizer.

        Raises:
            CheckpointError: open_clip is not installed or cannot load the folder, or the view does not fit it.
        """
        check_text_view(view, folder.name)
        self._tokenizer = _tokenizer(folder)
        most = int(self._tokenizer.context_length)
        self.max_tokens = token_limit(view.max_tokens, most, most, folder.name)
        self.width = self.token_width = int(read_config(folder)["model_cfg"]["embed_dim"])
        self._context = most
        self._model = _create(folder, spec.dtype, device)
        del self._model.visual  # half of the memory
        self.backbone: torch.nn.Module = self._model
        self.device = device
        self._autocast = spec.autocast
        self._lock = Lock()
        self._prefix = spec.prefix

    def lengths(self, texts: list[str]) -> list[int]:
        """See `TextEncoder`."""
        ids = self._tokenize(texts, self.max_tokens)
        if hasattr(self._tokenizer, "eot_token_id"):
            return ((ids == self._tokenizer.eot_token_id).int().argmax(dim=1) + 1).tolist()  # type: ignore[no-any-return]
        inner = self._tokenizer.tokenizer
        cleaned = [self._tokenizer.clean_fn(self._prefix + text) for text in texts]
        with self._lock:
            return [len(row) for row in inner(cleaned, truncation=True, max_length=self.max_tokens)["input_ids"]]

    def prepare(self, texts: list[str], max_tokens: int | None = None) -> TextBatch:
        """See `TextEncoder`."""
        return TextBatch(self._tokenize(texts, min(max_tokens or self.max_tokens, self.max_tokens)))

    @torch.inference_mode()
    def encode(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> torch.Tensor:
        """See `TextEncoder`."""
        batch = texts if isinstance(texts, TextBatch) else self.prepare(texts, max_tokens)
        with mixed_precision(self.device, self._autocast):
            features: torch.Tensor = self._model.encode_text(batch.inputs.to(self.device))
        return features.float()

    def encode_tokens(self, texts: list[str] | TextBatch) -> TokenFeatures:
        """See `TextEncoder`; a view that asks for it is refused when it is loaded."""
        raise NotImplementedError("a dual encoder gives one vector per text and no tokens")

    def _tokenize(self, texts: list[str], limit: int) -> torch.Tensor:
        """Ids (B, context length); the model has positions for exactly that many, so cut texts are padded to it."""
        with self._lock:
            ids: torch.Tensor = self._tokenizer([self._prefix + text for text in texts], context_length=limit)
        inner = getattr(self._tokenizer, "tokenizer", None)
        padding = 0 if inner is None else int(inner.pad_token_id)
        return torch.nn.functional.pad(ids, (0, self._context - ids.shape[1]), value=padding)


def _create(folder: Path, dtype: str, device: str) -> Any:
    library = import_open_clip()
    config = read_config(folder)["model_cfg"]
    text_model = text_model_folder(folder, config["text_cfg"])
    options: dict[str, Any] = {}
    if text_model is not None:
        options["text_cfg"] = config["text_cfg"] | {"hf_model_name": str(text_model), "hf_model_pretrained": False}
    if config.get("vision_cfg", {}).get("timm_model_pretrained"):  # it would be downloaded, and overwritten
        options["vision_cfg"] = config["vision_cfg"] | {"timm_model_pretrained": False}
    if not list(folder.glob("*.safetensors")):  # open_clip would take a pickle
        raise CheckpointError(f"{folder}: expected open_clip_model.safetensors, found no *.safetensors")
    try:
        with explain_out_of_memory(f"{folder.name} (open_clip)", SMALLER):
            model = library.create_model(
                f"local-dir:{folder}", precision=_PRECISION[dtype], device=device, require_pretrained=True, **options
            )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, AssertionError) as error:
        raise CheckpointError(f"open_clip cannot load {folder}: {' '.join(str(error).split())[:400]}") from error
    return model.eval()


def _tokenizer(folder: Path) -> Any:
    """open_clip's tokenizer; the one in `tokenizer/` if it was fetched, as open_clip does for names on the hub."""
    library = import_open_clip()
    text = read_config(folder)["model_cfg"]["text_cfg"]
    try:
        if not (folder / TOKENIZER).is_dir():
            of_transformers = {"trust_remote_code": False} if text.get("hf_tokenizer_name") else {}
            return library.get_tokenizer(f"local-dir:{folder}", **of_transformers)
        return library.tokenizer.HFTokenizer(
            str(folder / TOKENIZER),
            context_length=text.get("context_length", library.tokenizer.DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **((text.get("tokenizer_kwargs") or {}) | {"trust_remote_code": False}),
        )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, ImportError) as error:
        raise CheckpointError(f"open_clip cannot load the tokenizer of {folder}: {error}") from error
