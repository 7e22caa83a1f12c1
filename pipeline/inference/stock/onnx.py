"""Each tower of an aligner, encoder and head in one, as an ONNX file that onnxruntime runs without PyTorch."""

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import Head
from pipeline.alignment.saved import ProjectionHeads
from pipeline.alignment.vectors import embed_images
from pipeline.encoders.hf_processor import Processor
from pipeline.encoders.image import ImageEncoder
from pipeline.encoders.naflex import NaflexProcessor
from pipeline.encoders.transformers_text import pool
from pipeline.encoding.regions import region_means
from pipeline.errors import ModelError
from pipeline.inference.encoders import FrozenEncoders

TOLERANCE = 1e-4  # of every number of a vector
_OPSET = 17
_INSTALL = "pip install onnx onnxruntime"
IMAGE_FILE, TEXT_FILE, ABOUT_FILE = "image.onnx", "text.onnx", "onnx.json"


class _ImageHead(nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, cls: Tensor, local: Tensor) -> Tensor:
        return self.head.image_features(ImageInput(cls, local))


class _TextHead(nn.Module):
    def __init__(self, head: Head) -> None:
        super().__init__()
        self.head = head

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        return self.head.text_features(TextInput(tokens, mask))


class _ImageTower(nn.Module):
    """Pixels (B, 3, H, W) -> unit vectors (B, K)."""

    regions: Tensor

    def __init__(self, encoder: ImageEncoder, head: Head, local_tokens: str, layers: int, grid: int | None) -> None:
        super().__init__()
        self.backbone = encoder.backbone
        self.head = _ImageHead(head)
        self._encoder, self._local, self._layers = encoder, local_tokens, layers
        rows, columns = encoder.patch_grid
        if local_tokens == "grid" and grid:  # as a matrix, since ONNX has no adaptive pooling
            regions = region_means(torch.eye(rows * columns)[None], (rows, columns), grid)[0]
            self.register_buffer("regions", regions)

    def forward(self, pixels: Tensor) -> Tensor:
        features = self._encoder.features(pixels)
        cls = features.cls[:, -self._layers :].flatten(1)
        patch = features.patch[:, -self._layers :]
        if self._local == "none":
            local = cls[:, None, :][:, :0]
        elif self._local == "mean":
            local = patch.mean(dim=2).flatten(1)[:, None, :]
        else:
            local = self.regions @ patch[:, -1] if self._local == "grid" else patch[:, -1]
        unit: Tensor = self.head(cls, local)
        return unit


class _TextTower(nn.Module):
    """Token numbers and mask (B, T) int64 -> unit vectors (B, K)."""

    def __init__(self, backbone: nn.Module, head: Head, pooling: str | None, whole: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = _TextHead(head)
        self._pooling, self._whole = pooling, whole

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        given = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._pooling is None:  # of sentence-transformers
            out = self.backbone(given)
            hidden, pooled = out.get("token_embeddings"), out["sentence_embedding"]
        else:
            out = self.backbone(**given)
            hidden = out.last_hidden_state
            pooled = out.pooler_output if self._pooling == "model" else pool(hidden, attention_mask, self._pooling)
        if self._whole:
            unit: Tensor = self.head(hidden.float(), attention_mask.bool())
        else:
            unit = self.head(pooled.float()[:, None, :], None)
        return unit


def export_onnx(
    heads: ProjectionHeads,
    encoders: FrozenEncoders,
    out: Path,
    batch: int | None,
    int8: bool,
    pictures: Sequence[Image.Image],
    texts: Sequence[str],
) -> dict[str, dict[str, float]]:
    """Write image.onnx and text.onnx with what prepares their inputs, and check both by onnxruntime.

    Args:
        heads: on the CPU.
        encoders: in float32, of unrounded features.
        batch: inputs per call; any number where None.
        int8: weights of the encoders in 8 bits; those of the head stay in float32.
        pictures, texts: what is checked.

    Returns:
        by modality, the largest `difference` of a number and the smallest `cosine` to the aligner's vector.

    Raises:
        ModelError: onnx or onnxruntime is missing, a part cannot be traced, or the file gives other vectors.
    """
    _require_libraries()
    out.mkdir(parents=True)
    about: dict[str, Any] = {"batch": batch, "int8": int8, "embed_dim": heads.config.embed_dim}
    found = {}
    view, config = encoders.image_view, heads.config
    image = encoders.image_encoder()
    if isinstance(image.preprocess, NaflexProcessor):
        raise ModelError(
            "The image encoder takes patches on a grid of each picture's own, which no ONNX file is given."
        )
    pixels = torch.stack([image.preprocess(picture) for picture in pictures])
    tower = _ImageTower(image, heads.head, config.local_tokens, config.layers, getattr(view, "grid", None)).eval()
    _write(tower, {"pixels": pixels[: batch or 2]}, out / IMAGE_FILE, batch, int8, {})
    if isinstance(image.preprocess, Processor):
        image.preprocess.save(out)
    expected = np.concatenate([embed_images(heads, part) for part in encoders.image_features(pictures, 8)])
    found["image"] = _compared(out / IMAGE_FILE, {"pixels": pixels.numpy()}, expected, batch, int8)
    about["pixels"] = list(pixels.shape[1:])

    tokens, backbone, pooling, prefix = _text_parts(encoders)
    limit = encoders.max_tokens
    options = {"padding": True, "truncation": True, "max_length": limit, "return_tensors": "pt"}
    numbers = tokens([prefix + text for text in texts], **options)
    inputs = {name: numbers[name] for name in ("input_ids", "attention_mask")}
    text_tower = _TextTower(backbone, heads.head, pooling, config.text_tokens == "full").eval()
    shown = {name: value[: batch or 2] for name, value in inputs.items()}
    _write(text_tower, shown, out / TEXT_FILE, batch, int8, {name: {1: "tokens"} for name in inputs})
    tokens.save_pretrained(str(out))
    expected = heads.embed_text(encoders.text_features(texts, 8, config.text_tokens))
    arrays = {name: value.numpy() for name, value in inputs.items()}
    found["text"] = _compared(out / TEXT_FILE, arrays, expected, batch, int8)
    about |= {"prefix": prefix, "max_tokens": limit, "checked": found}
    (out / ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return found


def _text_parts(encoders: FrozenEncoders) -> tuple[Any, nn.Module, str | None, str]:
    """Tokenizer, network, pooling (None where the network does it) and prefix of the text encoder."""
    spec, encoder = encoders.recorded("text")[0], encoders.text_encoder()
    own: Any = encoder
    if spec.loader == "sentence-transformers":
        model: Any = encoder.backbone
        if type(model[0]).__name__ != "Transformer" or getattr(model, "truncate_dim", None) is not None:
            raise ModelError(f"A text encoder that begins with {type(model[0]).__name__} has no ONNX form here.")
        return model[0].tokenizer, model, None, own._prompt or spec.prefix
    if spec.loader == "transformers" and spec.pooling in ("mean", "cls", "last", "model") and own._full is None:
        return own._tokenizer, encoder.backbone, spec.pooling, spec.prefix
    raise ModelError(f"A text encoder of loader {spec.loader} and pooling {spec.pooling} has no ONNX form here.")


def _write(
    tower: nn.Module, shown: Mapping[str, Tensor], path: Path, batch: int | None, int8: bool, axes: Mapping[str, Any]
) -> None:
    free: dict[str, dict[int, str]] = {name: dict(axes.get(name, {})) for name in (*shown, "vectors")}
    for entry in free.values():
        entry |= {} if batch else {0: "batch"}
    target = path.with_suffix(".float.onnx") if int8 else path
    try:
        with warnings.catch_warnings(), torch.no_grad(), _eager(tower):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                tower, tuple(shown.values()), str(target), input_names=list(shown), output_names=["vectors"],
                dynamic_axes={name: entry for name, entry in free.items() if entry}, opset_version=_OPSET, dynamo=False,
            )  # fmt: skip
    except (RuntimeError, TypeError, ValueError, AttributeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(
            f"{path.stem} cannot be traced for ONNX: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    if int8:
        _quantise(target, path)
        target.unlink()


@contextmanager
def _eager(tower: nn.Module) -> Iterator[None]:
    """Attention in plain operations: the fused ones look at the mask's values, which a trace would freeze."""
    changed: list[tuple[Any, Any]] = []
    modules: Iterator[Any] = tower.modules()
    for module in modules:
        if hasattr(module, "set_attn_implementation"):
            changed.append((module, module.config._attn_implementation))
            module.set_attn_implementation("eager")
    try:
        yield
    finally:
        for module, before in reversed(changed):
            module.set_attn_implementation(before)


def _quantise(source: Path, target: Path) -> None:
    """Weights of matrix products in 8 bits, but for those of the head, on which the cosine depends most."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    nodes = onnx.load(str(source), load_external_data=False).graph.node
    options = {"weight_type": QuantType.QInt8, "per_channel": True, "op_types_to_quantize": ["MatMul", "Gemm"]}
    logging.disable(logging.WARNING)  # it recommends a step for convolutions
    try:
        kept = [node.name for node in nodes if node.name.startswith("/head/")]
        quantize_dynamic(str(source), str(target), nodes_to_exclude=kept, **options)
    finally:
        logging.disable(logging.NOTSET)


def _compared(
    path: Path, inputs: Mapping[str, np.ndarray], expected: np.ndarray, batch: int | None, int8: bool
) -> dict[str, float]:
    """What onnxruntime makes of the inputs, in batches of other sizes than the traced one, beside what is expected."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size, parts = batch or 5, []
    for start in range(0, len(expected), size):
        given = {name: values[start : start + size] for name, values in inputs.items()}
        short = size - len(next(iter(given.values())))
        if batch and short:  # the last batch of a fixed size is filled up
            given = {name: np.concatenate([v, np.repeat(v[-1:], short, axis=0)]) for name, v in given.items()}
        parts.append(session.run(["vectors"], given)[0])
    vectors = np.concatenate(parts)[: len(expected)]
    difference = float(np.abs(vectors - expected).max())
    if not int8 and not difference <= TOLERANCE:
        raise ModelError(f"{path.stem} gives other vectors by onnxruntime, by {difference:.1e} in a number.")
    return {"difference": difference, "cosine": float((vectors * expected).sum(axis=1).min())}


def _require_libraries() -> None:
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ModelError(f"The export needs onnx and onnxruntime ({error}). Install them with: {_INSTALL}") from error
    del onnx, onnxruntime
