"""Steps and frozen encoders as modules of sentence-transformers."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pipeline.config import EncoderSpec, ImageView, TextView
from pipeline.encoders.hf_processor import Processor
from pipeline.encoders.manifest import read_manifest
from pipeline.errors import ModelError
from pipeline.inference.encoders import FrozenEncoders
from pipeline.inference.stock.heads import refuse
from pipeline.inference.stock.steps import LayerNorm, Linear, Step
from pipeline.torchvision_fix import ensure_torchvision

_LIBRARY = "sentence_transformers."
_LOCAL = {"local_files_only": True, "trust_remote_code": False}


def stock() -> Any:
    """The package of modules that sentence-transformers brings.

    Raises:
        ModelError: it is older than 6, which has another place for them and no Router by modality.
    """
    ensure_torchvision()
    try:
        from sentence_transformers.sentence_transformer import modules
    except ImportError as error:
        raise ModelError(f"The export needs sentence-transformers 6 or later ({error}).") from error
    return modules


def modules_of(steps: Sequence[Step]) -> list[nn.Module]:
    """A module for each step, in float32."""
    library = stock()
    out = []
    for step in steps:
        if isinstance(step, Linear):
            rows, columns = step.weight.shape
            function = nn.Softmax(dim=-1) if step.activation == "Softmax" else getattr(nn, step.activation)()
            bias = None if step.bias is None else step.bias.float().contiguous()
            weight = step.weight.float().contiguous()
            initial = {"init_weight": weight.clone(), "init_bias": None if bias is None else bias.clone()}
            out.append(library.Dense(columns, rows, bias is not None, function, **initial))
        elif isinstance(step, LayerNorm):
            module = library.LayerNorm(len(step.weight))
            module.norm.load_state_dict({"weight": step.weight.float(), "bias": step.bias.float()})
            out.append(module)
        else:
            out.append(library.Normalize())
    return out


def image_modules(encoders: FrozenEncoders, local_tokens: str, last_layer: bool) -> tuple[list[nn.Module], Linear]:
    """Modules of the image encoder up to one vector, and the map from that to [CLS feature, patch mean].

    Args:
        local_tokens: that the head takes the mean of.
        last_layer: whether the head takes a single layer.

    Raises:
        ModelError: the encoder gives its features in a way that the module Transformer has not.
    """
    spec, view = encoders.recorded("image")
    assert isinstance(view, ImageView)
    if spec.loader != "transformers":
        refuse(f"An image encoder of loader {spec.loader}")
    if spec.pooling not in ("cls", "mean"):
        refuse(f"An image encoder of pooling {spec.pooling}")
    if not last_layer:
        refuse("Features of several layers in a row")
    encoder, library = encoders.image_encoder(), stock()
    rows, columns = encoder.patch_grid
    if local_tokens == "grid" and (rows % view.grid or columns % view.grid):
        refuse(f"The mean of a {view.grid} x {view.grid} grid over {rows} x {columns} patches, which overlaps,")
    processor = encoder.preprocess
    if not isinstance(processor, Processor):
        refuse("An image encoder without an image processor of transformers")
    with tempfile.TemporaryDirectory() as folder:
        for path in encoders.checkpoint("image").iterdir():
            if path.is_file() and path.name not in ("preprocessor_config.json", "processor_config.json"):
                (Path(folder) / path.name).symlink_to(path.resolve())
        processor.save(Path(folder))
        first = _transformer(folder, spec, num_hidden_layers=encoder.layers[-1])
    prefix = _prefix_tokens(encoders)
    width, count = encoder.width, rows * columns
    eye = torch.eye(width, dtype=torch.float64)
    if prefix == 0:
        return [first, library.Pooling(width, "mean")], Linear(torch.cat([eye, eye]))
    if prefix > 1:
        refuse(f"A mean of patches behind {prefix} other tokens")
    nothing = torch.zeros_like(eye)
    mean = torch.cat([-eye / count, eye * (count + 1) / count], dim=1)  # Pooling's mean has the CLS token in it
    cls = torch.cat([eye, nothing], dim=1) if spec.pooling == "cls" else mean
    return [first, library.Pooling(width, ("cls", "mean"))], Linear(torch.cat([cls, mean]))


def text_modules(encoders: FrozenEncoders, tokens: str) -> tuple[list[nn.Module], str]:
    """Modules of the text encoder up to one vector, and the string that stands before every text.

    Args:
        tokens: "pooled", or "full" for heads that take the mean over tokens.

    Raises:
        ModelError: as `image_modules`.
    """
    spec, view = encoders.recorded("text")
    assert isinstance(view, TextView)
    limit, library = encoders.text_encoder().max_tokens, stock()
    folder = str(encoders.checkpoint("text"))
    prefix = spec.prefix
    if spec.loader == "sentence-transformers":
        model: Any = encoders.text_encoder().backbone
        found: list[Any] = list(model.children())
        foreign = [type(module) for module in found if not type(module).__module__.startswith(_LIBRARY)]
        if foreign or not isinstance(found[0], library.Transformer):
            refuse(f"A text encoder whose modules are {', '.join(type(module).__name__ for module in found)}")
        if getattr(model, "truncate_dim", None) is not None:
            refuse("A text encoder with truncate_dim")
        prefix = encoders.text_encoder()._prompt or prefix  # type: ignore[attr-defined]
    elif spec.loader == "transformers" and spec.pooling in ("mean", "cls", "last"):
        first = _transformer(folder, spec)
        pooling = {"last": "lasttoken"}.get(spec.pooling, spec.pooling)
        found = [first, library.Pooling(first.get_embedding_dimension(), pooling)]
    else:
        refuse(f"A text encoder of loader {spec.loader} and pooling {spec.pooling}")
    if tokens == "full":
        found = [found[0], library.Pooling(found[0].get_embedding_dimension(), "mean")]
    found[0].max_seq_length = limit
    return found, prefix


def _transformer(folder: str, spec: EncoderSpec, **config: Any) -> Any:
    try:
        return stock().Transformer(
            folder,
            model_kwargs={"dtype": torch.float32, "use_safetensors": True, **_LOCAL},
            processor_kwargs=dict(_LOCAL),
            config_kwargs={**config, **_LOCAL},
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"sentence-transformers cannot load the encoder {spec.model} as a module: "
            f"{' '.join(str(error).split())[:300]}. Export it with export_onnx() instead."
        ) from error


def _prefix_tokens(encoders: FrozenEncoders) -> int:
    return int(read_manifest(encoders.checkpoint("image")).prefix_tokens or 0)
