"""Floats restored from 8-bit codes are those of the preprocessing, bit by bit, or there are no codes."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from transformers import BitImageProcessor, CLIPImageProcessor, SiglipImageProcessor, ViTImageProcessor

from pipeline.encoders.hf_processor import Processor
from pipeline.encoders.pixel_bytes import PixelBytes

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (40 + 61 * seed, 333 - 40 * seed, 3), dtype=np.uint8))


def hf(kind: Any, folder: Path, **options: Any) -> Processor:
    kind(**options).save_pretrained(folder)
    return Processor(folder)


def torchvision(_: Path) -> Any:
    size = [transforms.Resize(73), transforms.CenterCrop(64)]
    return transforms.Compose([*size, transforms.ToTensor(), transforms.Normalize(MEAN, STD)])


PREPROCESSINGS = {
    "clip": lambda f: hf(CLIPImageProcessor, f, size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),
    "dinov2": lambda f: hf(
        BitImageProcessor,
        f,
        size={"shortest_edge": 73},
        crop_size={"height": 64, "width": 64},
        image_mean=MEAN,
        image_std=STD,
    ),
    "siglip": lambda f: hf(SiglipImageProcessor, f, size={"height": 48, "width": 48}),
    "no normalisation": lambda f: hf(ViTImageProcessor, f, size={"height": 64, "width": 64}, do_normalize=False),
    "torchvision": torchvision,
}


@pytest.mark.parametrize("name", PREPROCESSINGS)
def test_codes_restore_the_floats(name: str, tmp_path: Path) -> None:
    preprocess = PREPROCESSINGS[name](tmp_path)
    proven = PixelBytes.proven(preprocess)
    assert proven is not None
    proven = pickle.loads(pickle.dumps(proven))
    pictures = [picture(seed) for seed in range(5)]
    codes = torch.stack([proven(image) for image in pictures])
    assert codes.dtype == torch.uint8
    restored = proven.restored(codes, "cpu")
    assert torch.equal(restored, torch.stack([preprocess(image) for image in pictures]))
    assert torch.equal(proven.restored(codes[None], "cpu")[0], restored)  # with crops there is one more axis


def test_other_preprocessings_stay_floats() -> None:
    last = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    floats_resized = transforms.Compose([transforms.ToTensor(), transforms.Resize((64, 64)), *last[1:]])
    assert PixelBytes.proven(floats_resized) is None
    assert PixelBytes.proven(lambda image: last[0](image)) is None

    class Mixed(transforms.Normalize):
        """Of which a value depends on its neighbours."""

    Mixed.__name__ = "Normalize"
    mixed = Mixed(MEAN, STD)
    mixed.forward = lambda tensor: tensor - tensor.mean()  # type: ignore[method-assign]
    assert PixelBytes.proven(transforms.Compose([transforms.Resize((64, 64)), last[0], mixed])) is None
