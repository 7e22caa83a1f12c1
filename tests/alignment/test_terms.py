"""STRUCTURE's term, the patch-text term and the regularisers, against slow versions and by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads import build_head
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.losses import patch_text as module
from pipeline.alignment.losses import patch_text_logits, structure_loss
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.losses.regularisers import mixed, noisy
from pipeline.alignment.losses.structure import log_neighbours
from pipeline.alignment.training.stacked import StackedLosses
from tests.alignment.specs import loss_of, trained

B, T, D, K = 9, 3, 6, 4


def batch(seed: int = 0) -> PairBatch:
    generator = torch.Generator().manual_seed(seed)
    cls, local = torch.randn(B, D, generator=generator), torch.randn(B, T, D, generator=generator)
    texts = TextInput.from_pooled(torch.randn(B, D, generator=generator))
    return PairBatch(ImageInput(cls, local), texts, torch.arange(B), torch.arange(B) % 7)


@pytest.mark.parametrize("levels", [1, 3])
def test_the_structure_term_is_scipys_divergence_of_neighbourhoods(levels: int) -> None:
    generator = torch.Generator().manual_seed(1)
    before, after = (torch.randn(B, width, generator=generator, dtype=torch.float64) for width in (D, K))
    expected = []
    for level in range(1, levels + 1):
        shares = []
        for x in (before.numpy(), after.numpy()):
            x = x - x.mean(axis=0)
            x /= np.linalg.norm(x, axis=1, keepdims=True)
            weight = np.exp(x @ x.T / 0.3)
            shares.append(np.linalg.matrix_power(weight / weight.sum(axis=1, keepdims=True), level))
        expected += [jensenshannon(p, q) ** 2 for p, q in zip(*shares, strict=True)]
    assert float(structure_loss(before, after, 0.3, levels)) == pytest.approx(np.mean(expected))


def test_what_a_rotation_keeps_costs_nothing() -> None:
    x = torch.randn(B, D, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64)).Q
    assert float(structure_loss(x, 3 * x @ rotation, 0.05)) == pytest.approx(0.0, abs=1e-12)
    assert float(structure_loss(x, torch.randn(B, D, dtype=torch.float64), 0.05)) < math.log(2)
    torch.testing.assert_close(log_neighbours(x, 0.05).exp().sum(1), torch.ones(B, dtype=torch.float64))


@pytest.mark.parametrize("temperature", [0.05, 0.015, 0.005, 0.001])
@pytest.mark.parametrize("levels", [1, 3])
def test_gradients_of_the_structure_term_are_those_of_double_precision(temperature: float, levels: int) -> None:
    """Shares of distant neighbours are too small for a float there; those of near ones still move."""
    generator = torch.Generator().manual_seed(3)
    before = torch.randn(40, D, generator=generator)
    before[1::2] = before[::2] + 0.02 * torch.randn(20, D, generator=generator)  # pairs of near neighbours
    start = before @ torch.randn(D, K, generator=generator)
    losses, gradients = [], []
    for dtype in (torch.float32, torch.float64):
        after = start.to(dtype, copy=True).requires_grad_()
        loss = structure_loss(before.to(dtype), after, temperature, levels)
        loss.backward()  # type: ignore[no-untyped-call]
        assert after.grad is not None
        losses.append(loss.item())
        gradients.append(after.grad.double())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    size = gradients[1].abs().max()
    assert size > 1e-3
    torch.testing.assert_close(gradients[0], gradients[1], atol=2e-3 * float(size), rtol=0)


def test_alike_vectors_give_the_structure_term_finite_gradients() -> None:
    after = torch.ones(B, K, requires_grad=True)  # a head that has collapsed: every centred vector is zero
    structure_loss(torch.randn(B, D), after, 0.001).backward()  # type: ignore[no-untyped-call]
    assert after.grad is not None
    assert torch.isfinite(after.grad).all()


def test_texts_are_compared_with_the_tokens_that_fit_them(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    patch = torch.randn(B, T, K, generator=generator, dtype=torch.float64).requires_grad_()
    text = torch.randn(B, K, generator=generator, dtype=torch.float64)
    scale = torch.tensor(2.0, dtype=torch.float64)
    logits = patch_text_logits(patch, text, scale)
    fixed = patch.detach()
    for i in range(B):
        for j in range(B):
            similarity = 2.0 * fixed[i] @ text[j]
            assert float(logits[i, j].detach()) == pytest.approx(float((similarity.softmax(0) * similarity).sum()))
    (whole,) = torch.autograd.grad(logits.square().sum(), patch)
    monkeypatch.setattr(module, "_ENTRIES", 2 * T * B)  # blocks of two images
    blocks = patch_text_logits(patch, text, scale)
    torch.testing.assert_close(blocks, logits)
    torch.testing.assert_close(torch.autograd.grad(blocks.square().sum(), patch)[0], whole)


def test_mixed_pairs_share_one_share_over_both_modalities() -> None:
    torch.manual_seed(0)
    plain = batch()
    together, order = mixed(plain, 1.0)
    assert sorted(order.tolist()) == list(range(B))
    moved = next(i for i in range(B) if order[i] != i)
    shares = []
    for before, after in (
        (plain.images.cls, together.images.cls),
        (plain.images.local, together.images.local),
        (plain.texts.tokens, together.texts.tokens),
    ):
        difference = before[moved] - before[order[moved]]
        share = ((after[moved] - before[order[moved]]) / difference).mean()
        torch.testing.assert_close(after, share * before + (1 - share) * before[order])
        shares.append(float(share))
    assert shares == pytest.approx([shares[0]] * 3, abs=1e-4)
    assert 0 <= shares[0] <= 1


def test_noise_has_the_size_asked_for() -> None:
    torch.manual_seed(0)
    wide = PairBatch(
        ImageInput(7 * torch.randn(400, 50), torch.zeros(400, 0, 50)),
        TextInput(torch.randn(400, 1, 50)),
        torch.arange(400),
        torch.arange(400),
    )
    after = noisy(wide, 0.1)
    assert float((after.images.cls - wide.images.cls).std()) == pytest.approx(0.7, rel=0.03)
    assert float((after.texts.tokens - wide.texts.tokens).std()) == pytest.approx(0.1, rel=0.03)


def test_the_objective_adds_its_parts_and_grows_the_structure_term() -> None:
    head = FreezeAlign(D, D, K, dropout=0.0).eval()
    spec = loss_of(structure={"weight": 10.0, "warmup": 0.5}, patch_text=0.3)
    for progress, grown in ((0.0, 0.0), (0.25, 0.5), (0.9, 1.0), (torch.tensor(0.25), 0.5)):
        parts = Objective(spec)(head, batch(), progress)
        expected = parts["contrast"] + 10 * grown * parts["structure"] + 0.3 * parts["patch_text"]
        torch.testing.assert_close(parts["loss"], expected)


def test_blocks_change_nothing_of_the_objective_and_noise_is_for_training_alone() -> None:
    for kind in ("info-nce", "sigmoid"):
        head = FreezeAlign(D, D, K, dropout=0.0, logit_bias=-10.0)
        spec = loss_of(kind=kind, noise=0.5, mixup=1.0)
        head.eval()
        whole = Objective(spec)(head, batch(), 0.0)["loss"]
        torch.testing.assert_close(
            Objective(spec.model_copy(update={"chunk_rows": 4}))(head, batch(), 0.0)["loss"], whole
        )
        torch.testing.assert_close(Objective(loss_of(kind=kind))(head, batch(), 0.0)["loss"], whole)
        head.train()
        assert not torch.allclose(Objective(spec)(head, batch(), 0.0)["loss"], whole)


@pytest.mark.parametrize(
    ("head", "loss"),
    [
        ("freeze-align", {"patch_text": 0.1}),
        ("gated-unit", {"kind": "sigmoid"}),
        ("gated-low-rank", {"structure": {"weight": 10.0}}),
        ("linear", {"chunk_rows": 4}),
        ("linear", {"chunk_rows": 4, "kind": "sigmoid"}),
        ("mlp", {"noise": 0.1, "mixup": 1.0, "chunk_rows": 4}),
    ],
)
def test_every_loss_maps_over_stacked_heads(head: str, loss: dict[str, Any]) -> None:
    spec = trained(head, embed_dim=K, loss=loss)
    heads = [build_head(spec, D, D).train() for _ in range(2)]
    objective = Objective(spec.loss)
    alone = torch.stack([objective(one, batch(), 0.5)["loss"].detach() for one in heads])
    losses = StackedLosses(heads, objective, [0.0, 0.0])
    together = losses(batch(), 0.5)["loss"]
    assert torch.isfinite(together).all()
    if "noise" not in loss:
        torch.testing.assert_close(together.detach(), alone)
    together.sum().backward()  # type: ignore[no-untyped-call]
    losses.hand_out_gradients()
    assert all(weight.grad is not None for one in heads for weight in one.parameters())


def test_shares_of_mixed_pairs_follow_the_beta_distribution() -> None:
    torch.manual_seed(0)
    plain = PairBatch(
        ImageInput(torch.tensor([[0.0], [1.0]]), torch.zeros(2, 0, 1)),
        TextInput(torch.zeros(2, 1, 1)),
        torch.arange(2),
        torch.arange(2),
    )
    drawn = [mixed(plain, 0.5) for _ in range(600)]
    shares = torch.stack([together.images.cls[1, 0] for together, order in drawn if order[0] == 1])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.07)
    assert float(shares.var()) == pytest.approx(1 / (4 * (2 * 0.5 + 1)), abs=0.03)


def test_what_counts_as_a_positive() -> None:
    """Pairs 0 and 7 share a caption; images 1 and 2 a concept."""
    head = FreezeAlign(D, D, K, dropout=0.0).eval()
    concepts = torch.tensor([0, 1, 1, 3, 4, 5, 6, 7, 8])
    losses = {}
    for kind in ("own", "pairs", "concept"):
        losses[kind] = Objective(loss_of(positives=kind), concepts)(head, batch(), 0.0)["loss"]
    image, text = head.image_features(batch().images), head.text_features(batch().texts)
    logits = head.scale() * image @ text.T
    for kind, same in (
        ("own", torch.eye(B, dtype=torch.bool)),
        ("pairs", batch().text_ids[:, None] == batch().text_ids),
        ("concept", (batch().text_ids[:, None] == batch().text_ids) | (concepts[:, None] == concepts)),
    ):
        rows = torch.stack([logits[i].logsumexp(0) - logits[i][same[i]].mean() for i in range(B)])
        columns = torch.stack([logits[:, j].logsumexp(0) - logits[:, j][same[:, j]].mean() for j in range(B)])
        torch.testing.assert_close(losses[kind], (rows.mean() + columns.mean()) / 2)
    with pytest.raises(ValueError, match="concept of each image"):
        Objective(loss_of(positives="concept"))
