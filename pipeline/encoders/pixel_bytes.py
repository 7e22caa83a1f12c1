"""Preprocessed images as the 8-bit pixels they were before rescaling and normalisation, a quarter of the bytes.

Both are functions of one 8-bit value and its channel, so a table of 256 values a channel, made by the library's own
preprocessing, gives the same floats bit by bit on any device. Where a preprocessing is not of this kind (one that
resizes floats), that shows on the pictures on which it is tried.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image

from pipeline.encoders.hf_processor import Processor

Preprocess = Callable[[Image.Image], torch.Tensor]
_VALUES = 256


class PixelBytes:
    """An RGB image -> its codes (3, H, W) uint8; it can be pickled."""

    def __init__(self, codes: Preprocess, table: torch.Tensor) -> None:
        self._codes, self._table = codes, table

    @classmethod
    def proven(cls, preprocess: Preprocess) -> "PixelBytes | None":
        """Codes from which `preprocess` (an RGB image -> (3, H, W) float32) is restored exactly; None if none do."""
        codes = _codes_of(preprocess)
        if codes is None:
            return None
        proven = cls(codes, torch.full((3, _VALUES), torch.nan))
        pictures = _pictures()
        if not all(proven._learns(picture, preprocess) for picture in pictures):
            return None
        for value in torch.nonzero(proven._table.isnan().any(dim=0)).flatten().tolist():  # interpolated away so far
            if not proven._learns(Image.new("RGB", (64, 64), (value,) * 3), preprocess):
                return None
        whole = not proven._table.isnan().any()
        same = (torch.equal(proven.restored(codes(image)[None], "cpu")[0], preprocess(image)) for image in pictures)
        return proven if whole and all(same) else None

    def _learns(self, image: Image.Image, preprocess: Preprocess) -> bool:
        found, expected = self._codes(image), preprocess(image)
        if found.dtype != torch.uint8 or expected.dtype != torch.float32 or found.shape != expected.shape:
            return False
        for channel in range(3):
            self._table[channel, found[channel].flatten().long()] = expected[channel].flatten()
        return True

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """An RGB image -> (3, H, W) uint8."""
        return self._codes(image)

    def restored(self, codes: torch.Tensor, device: str) -> torch.Tensor:
        """(..., 3, H, W) uint8 -> float32 of that shape on `device`, as the preprocessing gives it."""
        places = codes.to(device, non_blocking=True).int()
        places += (torch.arange(3, device=device, dtype=torch.int32) * _VALUES)[:, None, None]
        table = self._table.to(device).flatten()
        return table.index_select(0, places.flatten()).view(codes.shape)


class _Geometry:
    """A torchvision transform without its last two steps, which make floats and normalise them."""

    def __init__(self, steps: list[Any]) -> None:
        self._steps = steps

    def __call__(self, image: Image.Image) -> torch.Tensor:
        for step in self._steps:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _codes_of(preprocess: Preprocess) -> Preprocess | None:
    if isinstance(preprocess, Processor):
        return preprocess.codes if preprocess.normalises else None
    steps = list(getattr(preprocess, "transforms", ()))
    last = [type(step).__name__ for step in steps[-2:]]
    return _Geometry(steps[:-2]) if last in (["ToTensor", "Normalize"], ["MaybeToTensor", "Normalize"]) else None


def _pictures() -> list[Image.Image]:
    """Areas of all 256 values that are to survive resizing and cropping, and noise that is scaled up and down."""
    generator = np.random.default_rng(0)
    blocks = np.stack([generator.permutation(_VALUES).reshape(4, 8, 8) for _ in range(3)], axis=3)
    values = [np.kron(np.pad(b, ((1, 1), (1, 1), (0, 0)), mode="wrap"), np.ones((48, 48, 1))) for b in blocks]
    values += [generator.integers(0, _VALUES, (*size, 3)) for size in ((375, 500), (640, 300), (60, 90))]
    return [Image.fromarray(value.astype(np.uint8)) for value in values]
