"""Pictures of SigLIP2 with naflex: each keeps its shape and becomes patches on a grid of its own, padded to one number.

Shapes: B images, N patches with padding, F = 3 times the pixels of a patch.
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from pipeline.errors import CheckpointError

MODEL_TYPE = "siglip2_vision_model"


class NaflexProcessor:
    """transformers' own processor for as many patches as a square picture of a given side has.

    Attributes:
        resolution: that side, in pixels.
        whole: whether all of a picture is resized to that square, so that every picture has the same grid.
    """

    def __init__(self, folder: Path, patch_size: int, resolution: int | None = None, whole: bool = False) -> None:
        """Load the processor.

        Args:
            patch_size: of the model, in pixels.
            resolution: a multiple of it; the largest square within the processor's own number of patches where None.

        Raises:
            CheckpointError: the folder has no processor that makes patches of that size.
        """
        from transformers import AutoImageProcessor

        def loaded(**changes: int) -> Any:
            return AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False, **changes)

        try:
            processor = loaded()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder}: expected a usable preprocessor_config.json: {error}") from error
        most, made = getattr(processor, "max_num_patches", None), getattr(processor, "patch_size", None)
        if most is None or made != patch_size or not processor.do_resize:
            raise CheckpointError(
                f"{folder}: expected a processor that resizes a picture to patches of {patch_size} pixels "
                f"(Siglip2ImageProcessor), found {type(processor).__name__} with patches of {made} pixels and "
                f"do_resize {processor.do_resize}; fetch preprocessor_config.json again"
            )
        self.whole = whole
        self.resolution = resolution or int(most**0.5) * patch_size
        self._own = int(most)
        self._processor = loaded(max_num_patches=(self.resolution // patch_size) ** 2)

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """An RGB image -> (1, N + 1, F) float32: its patches, padded, and a last row with the rows and columns."""
        if self.whole:
            image = image.resize((self.resolution, self.resolution), self._processor.resample)
        found = self._processor(images=image, return_tensors="pt")
        patches: torch.Tensor = found["pixel_values"].float()
        last = patches.new_zeros(1, 1, patches.shape[2])
        last[0, 0, :2] = found["spatial_shapes"][0]
        return torch.cat([patches, last], dim=1)

    def describe(self) -> dict[str, Any]:
        """What determines the pixels beside the resolution, for the manifest."""
        processor = self._processor
        return {
            "processor": type(processor).__name__,
            "mean": list(processor.image_mean) if processor.do_normalize else None,
            "std": list(processor.image_std) if processor.do_normalize else None,
            "interpolation": int(processor.resample),
            "rescale_factor": processor.rescale_factor if processor.do_rescale else None,
            "resize": None,
            "crop": None,
            "max_patches": self._own,
        }


def unpacked(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Stacked outputs of a `NaflexProcessor`, (B, 1, N + 1, F), as the model takes them.

    Returns:
        patches (B, N, F); mask (B, N) int32, 1 for a patch and 0 for padding; rows and columns (B, 2) int64.
    """
    patches, grids = pixels[:, 0, :-1], pixels[:, 0, -1, :2].long()
    mask = torch.arange(patches.shape[1], device=pixels.device) < grids.prod(dim=1, keepdim=True)
    return patches, mask.int(), grids
