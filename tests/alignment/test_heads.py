"""Every head against its formula written out, and its parameters against the published counts."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads import Head, build_head, parameter_count
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.heads.fitted import RBF, Affine, Fourier, Relative
from pipeline.alignment.heads.networks import GatedLowRank, GatedUnit, InvertedBottleneck
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.heads.whitened import Whitened
from tests.alignment.specs import trained

B, T, D, E, K = 5, 3, 6, 4, 7
TRAINED = ("freeze-align", "linear", "mlp", "gated-unit", "inverted-bottleneck", "gated-low-rank")


def images(tokens: int = T) -> ImageInput:
    return ImageInput(torch.randn(B, D).half(), torch.randn(B, tokens, D).half())


def texts() -> TextInput:
    mask = torch.tensor([[1, 1, 1], [1, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1]], dtype=torch.bool)
    return TextInput(torch.randn(B, 3, E).half(), mask)


@pytest.mark.parametrize(("text", "shared", "expected"), [(1024, 1024, 11_553_793), (768, 768, 7_290_113)])
def test_freeze_align_has_the_published_number_of_parameters(text: int, shared: int, expected: int) -> None:
    with torch.device("meta"):
        head = build_head(trained(embed_dim=shared), 1024, text)
    assert parameter_count(head) == expected


@pytest.mark.parametrize(("width", "millions"), [(2048, 83.9), (1024, 25.2), (4096, 302.1)])
def test_the_gated_unit_has_the_published_number_of_parameters(width: int, millions: float) -> None:
    """SAIL: vision 83.9 M from concat(CLS, mean) of 1,024; text 25.2 M from GTE, 302 M from NV-Embed-2."""
    with torch.device("meta"):
        unit = GatedUnit(width, 1024, 0.0)
    assert parameter_count(unit) / 1e6 == pytest.approx(millions, abs=0.05)


def test_the_gated_unit_is_sails_formula() -> None:
    unit, x = GatedUnit(D, K, 0.0), torch.randn(B, D)
    y = (x - x.mean(1, keepdim=True)) / (x.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    gate = (y @ unit.gate.weight.T + unit.gate.bias).clamp(0, 6)
    hidden = gate * (y @ unit.value.weight.T + unit.value.bias)
    assert hidden.shape == (B, 8 * D)
    torch.testing.assert_close(unit(x), hidden @ unit.output.weight.T + unit.output.bias)


def test_the_inverted_bottleneck_is_four_residual_blocks_and_a_projection() -> None:
    net, x = InvertedBottleneck(D, K, 0.0), torch.randn(B, D)
    y = x
    for block in list(net)[:4]:
        inner = F.layer_norm(y, (D,), block.norm.weight, block.norm.bias)  # type: ignore[union-attr, arg-type]
        wide = F.gelu(F.linear(inner, block.expand.weight, block.expand.bias))  # type: ignore[union-attr, arg-type]
        assert wide.shape == (B, 4 * D)
        y = y + F.linear(wide, block.contract.weight, block.contract.bias)  # type: ignore[union-attr, arg-type]
    torch.testing.assert_close(net(x), net[5](net[4](y)))


def test_the_gated_low_rank_map_starts_as_an_orthogonal_one() -> None:
    net, x = GatedLowRank(K, D, 0.0), torch.randn(B, K)
    torch.testing.assert_close(net.skip.weight @ net.skip.weight.T, torch.eye(D))
    torch.testing.assert_close(net(x), x @ net.skip.weight.T)
    with torch.no_grad():
        net.gate.fill_(0.5)
    bent = F.gelu(net.down(x))
    assert bent.shape == (B, 64)
    torch.testing.assert_close(net(x), x @ net.skip.weight.T + 0.5 * net.up(bent))


@pytest.mark.parametrize("head", TRAINED)
@pytest.mark.parametrize("kind", ["info-nce", "sigmoid"])
def test_every_trained_head_gives_unit_vectors_and_learns(head: str, kind: str) -> None:
    torch.manual_seed(0)
    built = build_head(trained(head, embed_dim=K, loss={"kind": kind}), D, E, dropout=0.1)
    image, text = built.image_features(images()), built.text_features(texts())
    patch = built.patch_features(torch.randn(B, T, D))
    assert image.shape == text.shape == (B, K)
    assert patch.shape == (B, T, K)
    for vectors in (image, text, patch):
        torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(vectors.shape[:-1]))
    bias = built.bias()
    assert (bias is None) == (kind == "info-nce")
    assert bias is None or float(bias.detach()) == -10.0
    ((image @ text.T).diagonal().sum() * built.scale() + (0 if bias is None else bias)).backward()
    unmoved = [name for name, weight in built.named_parameters() if weight.grad is None]
    assert not unmoved


@pytest.mark.parametrize("kind", ["cls", "mean", "sum", "concat"])
def test_the_image_vector_is_made_of_cls_and_local_tokens(kind: str) -> None:
    given = images()
    cls, mean = given.cls.float(), given.local.float().mean(1)
    vector = {"cls": cls, "mean": mean, "sum": cls + mean, "concat": torch.cat([cls, mean], 1)}[kind]
    head = build_head(trained("linear", image_input=kind, embed_dim=K), D, E)
    assert isinstance(head, TwoNetworks)
    torch.testing.assert_close(head.image_features(given), F.normalize(head.image(vector), dim=1))
    tokens = texts()
    means = torch.stack([row[keep].float().mean(0) for row, keep in zip(tokens.tokens, tokens.mask, strict=True)])  # type: ignore[arg-type]
    torch.testing.assert_close(head.text_features(tokens), F.normalize(head.text(means), dim=1))
    same = ImageInput(given.local[:, 0], given.local[:, :1])  # a patch stands for an image that is that patch alone
    torch.testing.assert_close(head.patch_features(given.local[:, :1])[:, 0], head.image_features(same))


def test_freeze_align_without_local_tokens_is_its_cls_projector() -> None:
    head = build_head(trained(local_tokens="none", embed_dim=K), D, E).eval()
    given = images(tokens=0)
    torch.testing.assert_close(head.image_features(given), F.normalize(head.vision_cls(given.cls.float()), dim=1))  # type: ignore[operator]
    assert torch.isfinite(head.patch_features(torch.randn(1, 2, D))).all()


def linear(seed: int) -> Head:
    torch.manual_seed(seed)
    return TwoNetworks("cls", nn.Linear(D, K + seed), nn.Linear(E, K + seed))


def test_cosines_of_an_ensemble_are_weighted_means() -> None:
    members, given, tokens = [linear(0), linear(3)], images(), texts()
    head = Ensemble(members, [1.0, 3.0])
    cosines = [member.image_features(given) @ member.text_features(tokens).T for member in members]
    image = head.image_features(given)
    torch.testing.assert_close(image @ head.text_features(tokens).T, 0.25 * cosines[0] + 0.75 * cosines[1])
    torch.testing.assert_close(image.norm(dim=1), torch.ones(B))
    patches = torch.randn(B, T, D)
    one = head.image_features(ImageInput(patches[:, 0], patches[:, :0]))
    torch.testing.assert_close(head.patch_features(patches)[:, 0], one)


def test_a_whitened_head_is_the_head_on_mapped_features() -> None:
    maps = [Affine(torch.randn(width), torch.randn(width, width)) for width in (D, D, E)]
    inner = build_head(trained(embed_dim=K, loss={"kind": "sigmoid"}), D, E).eval()
    head, given, tokens = Whitened(inner, (maps[0], maps[1]), maps[2]), images(), texts()

    def mapped(x: Tensor, affine: Affine) -> Tensor:
        return (x.float() - affine.mean) @ affine.matrix

    expected = inner.image_features(ImageInput(mapped(given.cls, maps[0]), mapped(given.local, maps[1])))
    torch.testing.assert_close(head.image_features(given), expected)
    torch.testing.assert_close(head.patch_features(given.local), inner.patch_features(mapped(given.local, maps[1])))
    expected = inner.text_features(TextInput(mapped(tokens.tokens, maps[2]), tokens.mask))
    torch.testing.assert_close(head.text_features(tokens), expected)
    assert head.scale() == inner.scale()
    assert head.bias() is inner.logit_bias
    assert parameter_count(head) == parameter_count(inner)
    with torch.no_grad():
        inner.logit_scale.fill_(99.0)
    head.clamp_scale()
    assert float(head.scale().detach()) == pytest.approx(1000.0)


def test_random_features_approach_the_kernel() -> None:
    x = torch.randn(40, D)
    exact = torch.exp(-0.1 * torch.cdist(x, x).square())
    torch.testing.assert_close(RBF(x, 0.1)(x), exact, atol=1e-5, rtol=1e-4)
    features = Fourier.draw(D, 20_000, 0.1, torch.Generator().manual_seed(0))(x)
    assert float((features @ features.T - exact).abs().max()) < 0.05


def test_relative_representations_keep_the_nearest_anchors() -> None:
    anchors, x = torch.randn(9, D), torch.randn(B, D)
    got = Relative(anchors, neighbours=3, exponent=2.0)(x)
    cosine = F.cosine_similarity(x[:, None], anchors[None], dim=-1)
    for row, values in zip(got, cosine, strict=True):
        nearest = values.argsort(descending=True)[:3]
        expected = torch.zeros(9)
        expected[nearest] = values[nearest].clamp_min(0) ** 2
        torch.testing.assert_close(row, expected)


def test_fitted_maps_take_their_sizes_from_what_they_load() -> None:
    saved = nn.Sequential(Affine(torch.randn(D), torch.randn(D, K)), RBF(torch.randn(11, K), 0.3), Affine(*weights()))
    fresh = nn.Sequential(Affine(), RBF(), Affine())
    fresh.load_state_dict(saved.state_dict())
    x = torch.randn(B, D)
    torch.testing.assert_close(fresh(x), saved(x))
    with pytest.raises(RuntimeError, match=r"1\.gamma"):
        fresh.load_state_dict({name: value for name, value in saved.state_dict().items() if name != "1.gamma"})


def weights() -> tuple[Tensor, Tensor]:
    return torch.randn(11), torch.randn(11, K)
