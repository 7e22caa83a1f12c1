"""Image models of transformers: the families whose blocks and final norm are known here.

CLIP normalises only its CLS token on the way out; here its final norm goes over the patch tokens too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pipeline.config import EncoderSpec
from pipeline.encoders import convnext_tower, naflex
from pipeline.encoders.dual import dual_class
from pipeline.encoders.hf_processor import Processor
from pipeline.encoders.hf_weights import load_weights
from pipeline.encoders.kept_layers import KeptLayers
from pipeline.encoders.manifest import Description
from pipeline.encoders.naflex import NaflexProcessor
from pipeline.encoders.tower import Tokens, check_patches, count_layers
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision


@dataclass(frozen=True)
class Family:
    """Class, path of the blocks and of the final norm, and whether positions are interpolated only on demand.

    `distilled`: a distillation token follows the CLS token. `pooler`: the pooling layer is built only if asked for.
    `masked`: the model drops patches at random unless it is told not to. `own_grids`: it takes patches, a mask and a
    grid of each image.
    """

    model: str
    blocks: str
    norm: str
    has_cls: bool = True
    on_demand: bool = False
    distilled: bool = False
    pooler: bool = False
    masked: bool = False
    own_grids: bool = False


FAMILIES = {
    "dinov2": Family("Dinov2Model", "encoder.layer", "layernorm"),
    "dinov2_with_registers": Family("Dinov2WithRegistersModel", "encoder.layer", "layernorm"),
    "dinov3_vit": Family("DINOv3ViTModel", "model.layer", "norm"),
    "vit": Family("ViTModel", "layers", "layernorm", on_demand=True, pooler=True),
    "deit": Family("DeiTModel", "layers", "layernorm", on_demand=True, distilled=True, pooler=True),
    "ijepa": Family("IJepaModel", "layers", "layernorm", has_cls=False, on_demand=True, pooler=True),
    "beit": Family("BeitModel", "layers", "layernorm", on_demand=True, pooler=True),
    "data2vec-vision": Family("Data2VecVisionModel", "encoder.layer", "layernorm", on_demand=True, pooler=True),
    "vit_mae": Family("ViTMAEModel", "layers", "layernorm", on_demand=True, masked=True),
    "clip_vision_model": Family("CLIPVisionModel", "encoder.layers", "post_layernorm", on_demand=True),
    "siglip_vision_model": Family(
        "SiglipVisionModel", "encoder.layers", "post_layernorm", has_cls=False, on_demand=True
    ),
    naflex.MODEL_TYPE: Family("Siglip2VisionModel", "encoder.layers", "post_layernorm", has_cls=False, own_grids=True),
}
_UNUSED_WEIGHTS = ("mask_token",)  # part of pre-training only


def describe_tower(folder: Path) -> Description:
    """Describe an image checkpoint of transformers from its configuration.

    Raises:
        CheckpointError: it is of no known family, or has no image processor.
    """
    ensure_torchvision()
    config = _config(folder)
    if config.model_type == convnext_tower.MODEL_TYPE:
        return Description(
            architecture=convnext_tower.CLASS,
            width=config.hidden_sizes[-1],
            patch_size=None,
            layers=None,
            prefix_tokens=1,
            preprocessing=Processor(folder).describe(),
        )
    config, family = _family(folder)
    return Description(
        architecture=family.model,
        width=config.hidden_size,
        patch_size=config.patch_size,
        layers=config.num_hidden_layers,
        prefix_tokens=_prefix_tokens(config, family),
        preprocessing=_processor(folder, config).describe(),
    )


def load_tower(
    folder: Path, spec: EncoderSpec, resolution: int | None, device: str, whole: bool = False
) -> "TransformersTower | convnext_tower.ConvNextTower":
    """Load an image model of transformers for the layers, the pooling and the dtype of `spec`; `whole` as of `fit`.

    Raises:
        CheckpointError: the checkpoint lacks weights, or layers or resolution do not exist.
    """
    import transformers

    config = _config(folder)
    if config.model_type == convnext_tower.MODEL_TYPE:
        plain = Processor(folder, resolution, whole)
        side = check_patches(plain.resolution, convnext_tower.STRIDE, folder.name)
        model = load_weights(getattr(transformers, convnext_tower.CLASS), folder, spec, device, unused=lambda _: False)
        return convnext_tower.ConvNextTower(model, plain, side, spec, folder.name)
    config, family = _family(folder)
    layers = count_layers(spec.layers, config.num_hidden_layers, folder.name)
    pooled = spec.pooling == "model"
    if pooled and layers != (config.num_hidden_layers,):
        raise CheckpointError(
            f"{folder.name}: pooling model exists for the last layer only, found layers {list(spec.layers)}; "
            "set `layers: [-1]`, or pooling cls or mean"
        )
    processor = _processor(folder, config, resolution, whole)
    side = check_patches(processor.resolution, config.patch_size, folder.name)
    model = load_weights(
        getattr(transformers, family.model),
        folder,
        spec,
        device,
        unused=lambda key: key.endswith(_UNUSED_WEIGHTS),
        wanted=" for pooling model" * pooled,
        **({"add_pooling_layer": pooled} if family.pooler else {}),
        **({"mask_ratio": 0.0} if family.masked else {}),
    )
    return TransformersTower(model, family, processor, layers, _prefix_tokens(config, family), side, pooled)


class TransformersTower:
    """A `Tower` over an image model of transformers; its blocks are read with hooks."""

    def __init__(
        self,
        model: Any,
        family: Family,
        processor: Processor | NaflexProcessor,
        layers: tuple[int, ...],
        prefix_tokens: int,
        side: int,
        pooled: bool,
    ) -> None:
        self.layers = layers
        self.grids_vary = isinstance(processor, NaflexProcessor) and not processor.whole
        self.patch_grid = (0, 0) if self.grids_vary else (side, side)
        self.width: int = model.config.hidden_size
        self.has_cls = family.has_cls
        self.has_pooled = getattr(model.config, "vision_use_head", not family.masked)
        self.backbone: torch.nn.Module = model
        self._model = model
        self._family = family
        self.preprocess: Callable[[Image.Image], torch.Tensor] = processor
        self._prefix_tokens = prefix_tokens
        self._pooled = pooled
        self._norm = model.get_submodule(family.norm)
        self._kept = KeptLayers(model, family.blocks, layers)

    def forward(self, pixels: torch.Tensor) -> tuple[list[Tokens], torch.Tensor | None]:
        """See `Tower`."""
        options: dict[str, Any] = {"interpolate_pos_encoding": True} if self._family.on_demand else {}
        grids = None
        if self._family.own_grids:
            pixels, mask, grids = naflex.unpacked(pixels)
            options = {"pixel_attention_mask": mask, "spatial_shapes": grids}
        if self._family.masked:  # patches stay in the order of this noise
            count = self.patch_grid[0] * self.patch_grid[1]
            options["noise"] = torch.arange(count, device=pixels.device).float().expand(len(pixels), -1)
        output = self._model(pixel_values=pixels.to(self._model.dtype), **options)
        kept = self._kept.take()
        own = grids if self.grids_vary else None
        tokens = [self._split(self._norm(kept[layer]), own) for layer in self.layers]
        return tokens, output.pooler_output if self._pooled else None

    def _split(self, hidden: torch.Tensor, grids: torch.Tensor | None) -> Tokens:
        return Tokens(hidden[:, 0] if self.has_cls else None, hidden[:, self._prefix_tokens :], grids)


def _processor(
    folder: Path, config: Any, resolution: int | None = None, whole: bool = False
) -> Processor | NaflexProcessor:
    if config.model_type == naflex.MODEL_TYPE:
        return NaflexProcessor(folder, config.patch_size, resolution, whole)
    return Processor(folder, resolution, whole)


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: expected a config.json that transformers knows: {error}") from error
    return getattr(config, "vision_config", config)


def _family(folder: Path) -> tuple[Any, Family]:
    config = _config(folder)
    if config.model_type not in FAMILIES:
        raise CheckpointError(
            f"{folder}: image models of type {config.model_type!r} are not supported through transformers; these are: "
            f"{', '.join(sorted([*FAMILIES, convnext_tower.MODEL_TYPE]))}. Many others load with `loader: timm`"
            f"{'' if dual_class(folder) is None else ', and `pooling: model` gives the image_features of this one'}."
        )
    return config, FAMILIES[config.model_type]


def _prefix_tokens(config: Any, family: Family) -> int:
    return int(family.has_cls) + int(family.distilled) + int(getattr(config, "num_register_tokens", 0))
