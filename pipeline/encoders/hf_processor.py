"""transformers' own image processor at another resolution.

`AutoImageProcessor` chooses the class and the backend (torchvision where it is installed, else PIL); resize and crop
are scaled together, so a model that resizes to 256 and crops 224 resizes to 144 and crops 126.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pipeline.errors import CheckpointError


class Processor:
    """The image processor of a folder; `resolution` is the side of its square output."""

    def __init__(self, folder: Path, resolution: int | None = None, whole: bool = False) -> None:
        """Load the processor; with `whole` it resizes all of an image to that square and crops nothing.

        Raises:
            CheckpointError: the folder has no processor, or its output is not a square of fixed size.
        """
        from transformers import AutoImageProcessor

        try:
            processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: expected a usable preprocessor_config.json: {error}") from error
        self._class = type(processor).__name__
        self._resize = _dimensions(processor.size) if processor.do_resize else {}
        self._crop = _dimensions(processor.crop_size) if getattr(processor, "do_center_crop", False) else {}
        side = _side(self._crop or self._resize, folder)
        self.resolution = resolution or side
        if self.resolution != side:
            self._resize = {key: round(value * self.resolution / side) for key, value in self._resize.items()}
            self._crop = dict.fromkeys(self._crop, self.resolution)
            scaled = {"size": self._resize} | ({"crop_size": self._crop} if self._crop else {})
            processor = AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **scaled
            )
        if whole:
            self._resize, self._crop = {"height": self.resolution, "width": self.resolution}, {}
            uncropped = {"size": self._resize, "do_resize": True, "do_center_crop": False}
            processor = AutoImageProcessor.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False, **uncropped
            )
        self._processor = processor

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """An RGB image -> (3, resolution, resolution) float32."""
        pixels: torch.Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    @property
    def normalises(self) -> bool:
        """Whether it ends by rescaling 8-bit values or normalising them."""
        return bool(self._processor.do_rescale or self._processor.do_normalize)

    def codes(self, image: Image.Image) -> torch.Tensor:
        """An RGB image as it is before rescaling and normalisation, (3, resolution, resolution), uint8 in most."""
        whole = {"do_rescale": False, "do_normalize": False}
        pixels: torch.Tensor = self._processor(images=image, return_tensors="pt", **whole)["pixel_values"][0]
        return pixels

    def save(self, folder: Path) -> None:
        """Write preprocessor_config.json, with the sizes in use."""
        self._processor.save_pretrained(folder)

    def describe(self) -> dict[str, Any]:
        """What determines the pixels, for the manifest."""
        processor = self._processor
        return {
            "processor": self._class,
            "mean": list(processor.image_mean) if processor.do_normalize else None,
            "std": list(processor.image_std) if processor.do_normalize else None,
            "interpolation": int(processor.resample),
            "rescale_factor": processor.rescale_factor if processor.do_rescale else None,
            "resize": self._resize or None,
            "crop": self._crop or None,
        }


def _dimensions(size: Any) -> dict[str, int]:
    return {key: int(value) for key, value in dict(size).items() if value is not None}


def _side(size: dict[str, int], folder: Path) -> int:
    if set(size) == {"height", "width"} and size["height"] == size["width"]:
        return size["height"]
    raise CheckpointError(
        f"{folder}: expected a processor whose output is a square of fixed size, found {size or 'any size'}; "
        "edit preprocessor_config.json to a square size or a center crop"
    )
