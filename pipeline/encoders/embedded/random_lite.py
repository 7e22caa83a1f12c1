"""Controls for EfficientNet-Lite: architectures and preprocessing with weights that never saw an image."""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.encoders.embedded.efficientnet_lite import SHA256, config
from pipeline.files import write_json
from pipeline.torchvision_fix import ensure_torchvision

SEEDS = {number: 20242 + number for number in SHA256}
_SIDE, _BATCH = 64, 32  # of the noise on which the batch norms are measured


def convert(folder: Path, number: int) -> str:
    """Write a timm folder with timm's own initialisation from a fixed seed; returns `seed-<seed>`.

    Batch norms hold means and variances that are measured, and a fresh one holds none: then a signal fades from layer
    to layer until float16 has nothing left of it. Here they are measured on Gaussian noise.
    """
    ensure_torchvision()
    import timm

    settings = config(number)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEEDS[number])
        model = timm.create_model(settings["architecture"], pretrained=False, num_classes=settings["num_classes"])
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the plain mean over batches: here, of one
        with torch.no_grad():
            model.train()(torch.randn(_BATCH, 3, _SIDE, _SIDE))
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_json(settings, folder / "config.json", sort_keys=True)
    return f"seed-{SEEDS[number]}"


CONVERTERS = {f"random-efficientnet-lite{number}": partial(convert, number=number) for number in SEEDS}
