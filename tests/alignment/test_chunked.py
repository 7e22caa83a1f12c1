"""Losses in blocks against the full matrix: the value and every gradient, in any size of block."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from pipeline.alignment.losses import chunked_info_nce, chunked_sigmoid, info_nce, sigmoid_loss
from pipeline.alignment.losses.positives import EVERY, pair_positives

PAIRS, WIDTH = 13, 5
IMAGES = torch.tensor([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 10])  # two images have two captions
TEXTS = torch.tensor([0, 1, 1, 2, 3, 3, 3, 4, 5, 6, 7, 7, 8])  # and some captions have several images


def positives(rows: slice = EVERY, columns: slice = EVERY) -> Tensor:
    return pair_positives(IMAGES, TEXTS)(rows, columns)


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(PAIRS, WIDTH, generator=generator, dtype=torch.float64) for _ in range(2)]
    scalars = [torch.tensor(7.0, dtype=torch.float64), torch.tensor(-1.5, dtype=torch.float64)]
    return [x.requires_grad_() for x in (*[torch.nn.functional.normalize(x, dim=1) for x in sides], *scalars)]


def value_and_gradients(loss: Callable[..., Tensor], count: int) -> tuple[Tensor, ...]:
    given = inputs()[:count]
    value = loss(*given)
    return value.detach(), *torch.autograd.grad(3 * value, given)


@pytest.fixture(params=[(1024, 2048), (5, 3), (3, 13), (13, 1)], ids=str, autouse=True)
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and columns of a block on a processor: as they are, and so small that these few pairs make many."""
    for name, size in zip(("_ROWS", "_COLUMNS"), request.param, strict=True):
        monkeypatch.setattr(f"pipeline.alignment.losses.chunked.{name}", size)


@pytest.mark.parametrize("rows", [1, 4, 12, 13, 50])
def test_blocks_of_info_nce_equal_the_full_matrix(rows: int) -> None:
    whole = value_and_gradients(lambda i, t, s: info_nce(i, t, s, positives()), 3)
    blocks = value_and_gradients(lambda i, t, s: chunked_info_nce(i, t, s, positives, rows), 3)
    torch.testing.assert_close(blocks, whole)


@pytest.mark.parametrize("rows", [1, 4, 13])
def test_blocks_of_the_sigmoid_loss_equal_the_full_matrix(rows: int) -> None:
    whole = value_and_gradients(lambda i, t, s, b: sigmoid_loss(i, t, s, b, positives(), PAIRS**2), 4)
    blocks = value_and_gradients(lambda i, t, s, b: chunked_sigmoid(i, t, s, b, positives, PAIRS**2, rows), 4)
    torch.testing.assert_close(blocks, whole)


def test_the_gradient_of_the_blocks_is_that_of_finite_differences() -> None:
    assert torch.autograd.gradcheck(lambda i, t, s: chunked_info_nce(i, t, s, positives, 5), inputs()[:3])
    assert torch.autograd.gradcheck(lambda i, t, s, b: chunked_sigmoid(i, t, s, b, positives, 7, 5), inputs())


def test_the_sigmoid_loss_is_the_sum_of_yes_no_questions() -> None:
    """SAIL's form: every entry of the matrix is a logistic loss; divided by B * B, or by B as in SigLIP."""
    image, text, scale, bias = (x.detach() for x in inputs())
    total = 0.0
    for i in range(PAIRS):
        for j in range(PAIRS):
            answer = 1.0 if positives()[i, j] else -1.0
            total += float(torch.log1p(torch.exp(-answer * (scale * image[i] @ text[j] + bias))))
    for normaliser in (PAIRS, PAIRS**2):
        assert float(sigmoid_loss(image, text, scale, bias, positives(), normaliser)) == pytest.approx(
            total / normaliser
        )


def test_rows_of_positives_are_rows_of_the_whole() -> None:
    pairs = set(zip(IMAGES.tolist(), TEXTS.tolist(), strict=True))
    expected = torch.tensor([[(i, t) in pairs for t in TEXTS.tolist()] for i in IMAGES.tolist()])
    assert torch.equal(positives(), expected)
    assert torch.equal(torch.cat([positives(slice(0, 6)), positives(slice(6, 13))]), expected)
    assert torch.equal(positives(slice(2, 9), slice(3, 12)), expected[2:9, 3:12])


def test_blocks_map_over_stacked_vectors() -> None:
    """Several heads at once on one batch, as `torch.func.vmap` sees them."""
    image, text, scale, _ = (x.detach() for x in inputs())
    stack = torch.stack([image, text, image + text])

    def by_image(one: Tensor) -> Tensor:
        return chunked_info_nce(one, text, scale, positives, 4)

    single = torch.stack([grad(by_image)(one) for one in stack])
    torch.testing.assert_close(vmap(grad(by_image))(stack), single)


def test_under_autocast_products_are_in_bfloat16_and_sums_are_not() -> None:
    image, text, scale, _ = (x.detach().float() for x in inputs())
    exact = float(chunked_info_nce(image, text, scale, positives, 4))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = chunked_info_nce(image.requires_grad_(), text, scale, positives, 4)
    assert rounded.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(exact, rel=0.02)
    (gradient,) = torch.autograd.grad(rounded, image)
    assert gradient.dtype == torch.float32
