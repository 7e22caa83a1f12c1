"""Region means: patch tokens averaged over a coarse grid."""

import torch


def own_region_means(patch: torch.Tensor, grids: torch.Tensor, grid: int) -> torch.Tensor:
    """`region_means` where each image has a grid of its own.

    Args:
        patch: (B, P, D), the patches of an image first.
        grids: (B, 2) int64, its rows and columns.
    """
    means = [
        region_means(own[None, : rows * columns], (rows, columns), grid)
        for own, (rows, columns) in zip(patch, grids.tolist(), strict=True)
    ]
    return torch.cat(means)


def region_means(patch: torch.Tensor, patch_grid: tuple[int, int], grid: int) -> torch.Tensor:
    """Means of patch tokens over `grid` x `grid` regions.

    Args:
        patch: (B, P, D), row-major, P = height * width of `patch_grid`.
        patch_grid: (height, width) in patches.
        grid: regions per side. Where it does not divide the side, neighbouring regions share a row or column of
            patches, as in adaptive average pooling.

    Returns:
        (B, grid * grid, D), row-major.
    """
    height, width = patch_grid
    maps = patch.transpose(1, 2).reshape(patch.shape[0], patch.shape[2], height, width)
    return torch.nn.functional.adaptive_avg_pool2d(maps, grid).flatten(2).transpose(1, 2)
