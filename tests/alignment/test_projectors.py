import math

import pytest
import torch
from torch.nn import functional as F

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import parameter_count
from pipeline.alignment.heads.freeze_align import FreezeAlign, GlobalMLP, TokenProjector


@pytest.mark.parametrize(
    ("vision", "text", "shared", "expected"),
    [(1024, 1024, 1024, 11_553_793), (1024, 768, 768, 7_290_113)],
)
def test_parameter_counts_are_those_of_the_paper(vision: int, text: int, shared: int, expected: int) -> None:
    with torch.device("meta"):
        parts = [TokenProjector(vision, shared), TokenProjector(vision, shared)]
        parts += [TokenProjector(text, shared), GlobalMLP(shared, shared)]
    assert sum(parameter_count(part) for part in parts) + 1 == expected
    assert parameter_count(FreezeAlign(vision, text, shared)) == expected


def test_token_projector_follows_its_formula() -> None:
    torch.manual_seed(0)
    projector, x = TokenProjector(5, 3).eval(), torch.randn(4, 5)
    n = F.layer_norm(x, (5,))
    residual = n @ projector.linear.weight.T + projector.linear.bias
    hidden = F.gelu(n @ projector.hidden.weight.T + projector.hidden.bias)
    expected = residual + hidden @ projector.output.weight.T + projector.output.bias
    torch.testing.assert_close(projector(x), expected)


def test_global_mlp_follows_its_formula() -> None:
    torch.manual_seed(0)
    mlp, x = GlobalMLP(5, 3).eval(), torch.randn(4, 5)
    p = x @ mlp.input.weight.T + mlp.input.bias
    out = F.gelu(p) @ mlp.output.weight.T + mlp.output.bias
    torch.testing.assert_close(mlp(x), F.layer_norm(out + p, (3,)))


@pytest.mark.parametrize("masked", [False, True])
def test_mean_over_tokens_equals_the_naive_form_in_value_and_gradient(masked: bool) -> None:
    torch.manual_seed(0)
    projector = TokenProjector(6, 4, dropout=0.3).double()
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0]]).bool() if masked else None
    weights = torch.ones(3, 5, dtype=torch.float64) if mask is None else mask.double()

    torch.manual_seed(1)  # the same dropout for both
    lean = projector.mean(x, mask)
    lean_gradients = torch.autograd.grad(lean.square().sum(), list(projector.parameters()))
    torch.manual_seed(1)
    naive = (projector(x) * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True)
    naive_gradients = torch.autograd.grad(naive.square().sum(), list(projector.parameters()))

    torch.testing.assert_close(lean, naive)
    for ours, theirs in zip(lean_gradients, naive_gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_masked_tokens_have_no_influence() -> None:
    torch.manual_seed(0)
    head = FreezeAlign(6, 5, 4).eval()
    tokens, mask = torch.randn(2, 3, 5), torch.tensor([[True, True, False]] * 2)
    changed = tokens.clone()
    changed[:, 2] = 100.0
    torch.testing.assert_close(
        head.text_features(TextInput(tokens, mask)), head.text_features(TextInput(changed, mask))
    )
    shorter = head.text_features(TextInput(tokens[:, :2]))
    torch.testing.assert_close(head.text_features(TextInput(tokens, mask)), shorter)


def test_image_features_sum_both_projectors_and_are_unit_vectors() -> None:
    torch.manual_seed(0)
    head = FreezeAlign(6, 5, 4).eval()
    images = ImageInput(torch.randn(3, 6).half(), torch.randn(3, 2, 6).half())
    summed = head.vision_cls(images.cls.float()) + head.vision_local(images.local.float()).mean(dim=1)
    torch.testing.assert_close(head.image_features(images), F.normalize(summed, dim=-1))
    assert head.image_features(images).dtype == torch.float32


@pytest.mark.parametrize(("temperature", "scale"), [(0.07, 1 / 0.07), (1e-9, 1000.0), (50.0, 2.0)])
def test_temperature_starts_where_asked_and_stays_in_range(temperature: float, scale: float) -> None:
    head = FreezeAlign(4, 4, 4, temperature=temperature)
    assert float(head.scale().detach()) == pytest.approx(scale, rel=1e-5)
    assert head.logit_scale.ndim == 0
    assert math.isclose(float(head.logit_scale.detach()), math.log(scale), rel_tol=1e-5)
