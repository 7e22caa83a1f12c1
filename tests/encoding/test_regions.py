"""Region means by hand."""

import torch

from pipeline.encoding.regions import region_means


def test_four_regions_of_a_four_by_four_map() -> None:
    patch = torch.arange(16, dtype=torch.float32).reshape(1, 16, 1)  # row-major: 0 1 2 3 / 4 5 6 7 / ...
    means = region_means(patch, (4, 4), 2)
    assert means.shape == (1, 4, 1)
    assert means.flatten().tolist() == [2.5, 4.5, 10.5, 12.5]


def test_one_region_is_the_mean_of_all_patches() -> None:
    patch = torch.randn(3, 6, 5)
    torch.testing.assert_close(region_means(patch, (2, 3), 1)[:, 0], patch.mean(1))
