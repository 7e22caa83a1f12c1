"""Closed forms against libraries and slow versions, and the streamed pass against all rows at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes, subspace_angles
from sklearn.cross_decomposition import CCA
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import Ridge

from pipeline.alignment.closed_form import statistics as gather_module
from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.closed_form.kernel import gamma_of, kernel_ridge, nystrom_root
from pipeline.alignment.closed_form.linear import cca, procrustes, ridge, solve_lifted, whitening
from pipeline.alignment.closed_form.moments import Moments, MomentSums, moments_of_few
from pipeline.alignment.closed_form.usable import require_spread_of_pairs
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.heads.fitted import fitted_and_kept
from pipeline.alignment.heads.vectors import image_vector, text_vector
from pipeline.alignment.saved import HeadConfig, ProjectionHeads, head_entry, save_heads
from pipeline.alignment.training.initial_head import initial_head, input_whitening
from pipeline.config import ClosedFormHead, TrainParams
from pipeline.errors import DataError, ModelError
from tests.alignment.specs import computed, trained

N, D, E = 90, 6, 5
DIRECTIONS = ("image-to-text", "text-to-image")


def paired(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(N, 4))
    x = z @ rng.normal(size=(4, D)) + 0.3 * rng.normal(size=(N, D)) + 3.0
    return x, z @ rng.normal(size=(4, E)) + 0.3 * rng.normal(size=(N, E)) - 2.0


def moments(x: np.ndarray, y: np.ndarray, block: int = 17) -> Moments:
    sums = MomentSums()
    for start in range(0, len(x), block):
        sums.add(torch.from_numpy(x[start : start + block]), torch.from_numpy(y[start : start + block]))
    return sums.moments()


def test_moments_of_blocks_are_those_of_all_rows() -> None:
    x, y = paired()
    found = moments(x, y)
    assert found.count == N
    np.testing.assert_allclose(found.mean_x, x.mean(0))
    joint = np.cov(np.concatenate([x, y], axis=1).T, ddof=0)
    np.testing.assert_allclose(found.cov_xx, joint[:D, :D], atol=1e-12)
    np.testing.assert_allclose(found.cov_yy, joint[D:, D:], atol=1e-12)
    np.testing.assert_allclose(found.cov_xy, joint[:D, D:], atol=1e-12)
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(D, 3)), rng.normal(size=(E, 2))
    mapped, expected = found.mapped(torch.from_numpy(a), torch.from_numpy(b)), moments((x - x.mean(0)) @ a, y @ b)
    np.testing.assert_allclose(mapped.cov_xy, expected.cov_xy, atol=1e-12)
    np.testing.assert_allclose(mapped.swapped().cov_xx, expected.cov_yy, atol=1e-12)
    with pytest.raises(ValueError, match="no pair"):
        MomentSums().moments()


def test_a_large_offset_costs_single_precision_no_digits() -> None:
    x, y = paired()
    shifted = MomentSums()
    for start in range(0, N, 30):
        shifted.add(
            torch.from_numpy(x[start : start + 30] + 1000).float(), torch.from_numpy(y[start : start + 30]).float()
        )
    np.testing.assert_allclose(shifted.moments().cov_xy, moments(x, y).cov_xy, atol=1e-3)


def test_whitened_rows_have_unit_covariance() -> None:
    x, y = paired()
    covariance = moments(x, y).cov_xx
    white = whitening(covariance, 1e-12)
    torch.testing.assert_close(white @ covariance @ white, torch.eye(D, dtype=torch.float64), atol=1e-8, rtol=0)
    shrunk = whitening(covariance, 0.5)
    lifted = covariance + 0.5 * covariance.diagonal().mean() * torch.eye(D)
    torch.testing.assert_close(shrunk @ lifted @ shrunk, torch.eye(D, dtype=torch.float64), atol=1e-8, rtol=0)
    assert torch.isfinite(whitening(torch.zeros(3, 3, dtype=torch.float64), 0.1)).all()


def test_procrustes_is_scipys_for_equal_widths() -> None:
    x, y = paired()
    x = x[:, :E]
    left, right = procrustes(moments(x, y))
    rotation, _ = orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    np.testing.assert_allclose(left @ right.T, rotation, atol=1e-10)
    narrow, _ = procrustes(moments(*paired()), 3)
    torch.testing.assert_close(narrow.T @ narrow, torch.eye(3, dtype=torch.float64))


def test_ridge_is_scikit_learns() -> None:
    x, y = paired()
    solved = ridge(moments(x, y), 0.3)
    expected = Ridge(alpha=0.3 * x.var(0).mean() * N).fit(x, y)
    np.testing.assert_allclose(solved, expected.coef_.T, atol=1e-10)


def test_cca_is_scikit_learns_without_shrinking() -> None:
    x, y = paired()
    left, right = cca(moments(x, y), 1e-12, power=0.0, width=2)
    one, other = (x - x.mean(0)) @ left.numpy(), (y - y.mean(0)) @ right.numpy()
    reference = CCA(n_components=2, scale=False, max_iter=5000, tol=1e-12).fit(x, y)
    for mine, theirs in zip((one, other), reference.transform(x, y), strict=True):
        assert subspace_angles(mine, theirs).max() < 1e-4
    correlations = [np.corrcoef(one[:, k], other[:, k])[0, 1] for k in range(2)]
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*(s.T for s in reference.transform(x, y)), strict=True)]
    np.testing.assert_allclose(correlations, expected, atol=1e-6)
    weighted, _ = cca(moments(x, y), 1e-12, power=2.0, width=2)
    np.testing.assert_allclose(weighted, left * torch.tensor(correlations) ** 2, atol=1e-6)


def test_kernel_ridge_is_scikit_learns_with_weights() -> None:
    x, y = paired()
    gamma = gamma_of(torch.from_numpy(x.var(0)), 1.5)
    distances = ((x[:, None] - x[None]) ** 2).sum(2)
    assert gamma == pytest.approx(1 / (1.5 * distances.mean()))
    weight = np.random.default_rng(3).integers(1, 4, N)
    solved = kernel_ridge(
        torch.from_numpy(np.exp(-gamma * distances)), torch.from_numpy(y), 0.2, torch.from_numpy(weight)
    )
    repeated = KernelRidge(alpha=0.2, kernel="rbf", gamma=gamma).fit(x, y, sample_weight=weight.astype(float))
    np.testing.assert_allclose(np.exp(-gamma * distances) @ solved.numpy(), repeated.predict(x), atol=1e-8)


def test_nystrom_with_every_row_as_a_landmark_is_the_kernel() -> None:
    x, _ = paired()
    kernel = torch.from_numpy(np.exp(-0.05 * ((x[:, None] - x[None]) ** 2).sum(2)))
    root = nystrom_root(kernel, floor=1e-14)
    torch.testing.assert_close((kernel @ root) @ (kernel @ root).T, kernel, atol=1e-5, rtol=0)


@pytest.mark.parametrize("lift", [1e-12, torch.full((8,), 1e-12, dtype=torch.float64)], ids=["one", "by-feature"])
def test_a_penalty_below_the_rounding_of_the_sums_leaves_out_what_rounding_decides(lift: torch.Tensor | float) -> None:
    rng = np.random.default_rng(0)
    rows, wanted = torch.from_numpy(rng.normal(size=(50, 3)) @ rng.normal(size=(3, 8))), rng.normal(size=(8, 2))
    gram = rows.T @ rows
    cross, rounded = gram @ torch.from_numpy(wanted), gram - 1e-7 * torch.eye(8, dtype=torch.float64)
    assert torch.linalg.eigvalsh(rounded)[0] < -1e-12
    found = solve_lifted(rounded, cross, lift)
    torch.testing.assert_close(rows @ found, rows @ torch.from_numpy(wanted), rtol=1e-4, atol=1e-4)
    assert float(found.abs().max()) < 10 * float(np.abs(wanted).max())


# --- the forms as heads ---


def world(seed: int = 0) -> AlignmentData:
    """60 images for training, 20 of them with two captions, and 30 images for validation."""
    x, y = paired(seed)
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(x).half()
    local = images[:, None] + 0.1 * torch.randn(N, 3, D, generator=generator).half()
    texts = torch.cat([torch.from_numpy(y), torch.from_numpy(y[:20]) + 0.1]).half()
    train = torch.stack([torch.arange(60), torch.arange(60)], dim=1)
    second = torch.stack([torch.arange(20), torch.arange(N, N + 20)], dim=1)
    validation = torch.arange(60, N)[:, None].repeat(1, 2)
    features = ResidentFeatures(ImageInput(images, local), TextInput.from_pooled(texts), torch.device("cpu"))
    return AlignmentData(features, (torch.cat([train, second]),), (validation,), {}, ("toy",))


def vectors(data: AlignmentData) -> tuple[np.ndarray, np.ndarray]:
    pairs = data.train[0]
    x = image_vector(data.features.images.read(pairs[:, 0]), "concat")
    return x.double().numpy(), text_vector(data.features.texts.read(pairs[:, 1])).double().numpy()


def whitening_of(sides: str) -> dict[str, str] | None:
    return None if sides == "none" else {"sides": sides}


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
    return np.asarray(a @ b.T)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "BLOCK", 16)


def scores(data: AlignmentData, spec: ClosedFormHead) -> np.ndarray:
    head, _, _ = fit_closed(resolved(spec, data)[0], data, 0, seed=0)
    images, texts = data.features.images.read(torch.arange(N)), data.features.texts.read(torch.arange(N))
    return np.asarray((head.image_features(images) @ head.text_features(texts).T).numpy())


def everything(data: AlignmentData) -> tuple[np.ndarray, np.ndarray]:
    x = image_vector(data.features.images.read(torch.arange(N)), "concat").double().numpy()
    return x, text_vector(data.features.texts.read(torch.arange(N))).double().numpy()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_ridge_head_scores_as_scikit_learn(direction: str) -> None:
    data = world()
    x, y = vectors(data)
    all_x, all_y = everything(data)
    if direction == "image-to-text":
        model = Ridge(alpha=0.5 * x.var(0).mean() * len(x)).fit(x, y)
        expected = cosines(model.predict(all_x) - y.mean(0), all_y - y.mean(0))
    else:
        model = Ridge(alpha=0.5 * y.var(0).mean() * len(x)).fit(y, x)
        expected = cosines(all_x - x.mean(0), model.predict(all_y) - x.mean(0))
    found = scores(data, computed({"ridge": {"ridge": [0.5], "direction": direction}}))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("sides", ["none", "text", "both"])
def test_a_kernel_head_scores_as_scikit_learn(sides: str) -> None:
    """Images with two captions count twice, with the mean of both."""
    data = world()
    x, y = vectors(data)
    all_x, all_y = everything(data)
    if sides == "both":
        white = whitening(torch.from_numpy(np.cov(x.T, ddof=0)), 0.3).numpy()
        x, all_x = (x - x.mean(0)) @ white, (all_x - x.mean(0)) @ white
    white = whitening(torch.from_numpy(np.cov(y.T, ddof=0)), 0.3).numpy() if sides != "none" else np.eye(E)
    target, all_y = (y - y.mean(0)) @ white, (all_y - y.mean(0)) @ white
    images, counts = x[:60], np.array([2] * 20 + [1] * 40)
    means = np.concatenate([(target[:20] + target[60:]) / 2, target[20:60]])
    gamma = 1 / (2 * images.var(0, ddof=1).sum())
    model = KernelRidge(alpha=0.4, kernel="rbf", gamma=gamma).fit(images, means, sample_weight=counts.astype(float))
    found = scores(data, computed({"kernel-ridge": {"ridge": [0.4]}}, whitening=whitening_of(sides)))
    np.testing.assert_allclose(found, cosines(model.predict(all_x), all_y), atol=1e-3)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_streamed_kernels_approach_the_exact_one(direction: str) -> None:
    data = world()
    exact = scores(data, computed({"kernel-ridge": {"ridge": [1.0], "direction": direction}}))
    for features, size in (("nystrom", 60), ("fourier", 1500)):
        form = {"ridge": [1.0], "features": features, "size": size, "direction": direction}
        near = scores(data, computed({"kernel-ridge": form}))
        assert np.corrcoef(near.ravel(), exact.ravel())[0, 1] > 0.97, features
    rough = scores(data, computed({"kernel-ridge": {"features": "nystrom", "size": 2, "direction": direction}}))
    assert np.corrcoef(rough.ravel(), exact.ravel())[0, 1] < np.corrcoef(near.ravel(), exact.ravel())[0, 1]


def test_an_asif_head_is_the_relative_representation_by_hand() -> None:
    data = world()
    x, y = vectors(data)
    all_x, all_y = everything(data)
    captions = np.concatenate([(y[:20] + y[60:]) / 2, y[20:60]])
    sides = []
    for rows, anchors, mean in ((all_x, x[:60], x.mean(0)), (all_y, captions, y.mean(0))):
        values = cosines(rows - mean, anchors - mean)
        kept = np.sort(values, axis=1)[:, [-7]]
        sides.append(np.where(values >= kept, values, 0).clip(0) ** 3)
    found = scores(data, computed({"asif": {"neighbours": [7], "exponent": [3.0]}}))
    np.testing.assert_allclose(found, cosines(*sides), atol=2e-3)


def test_validation_chooses_and_the_first_of_equals_stays() -> None:
    data = world()
    head, recall, tried = fit_closed(computed({"ridge": {"ridge": [1e6, 0.1]}}), data, 0, seed=0)
    alone = [fit_closed(computed({"ridge": {"ridge": [one]}}), data, 0, seed=0)[1] for one in (1e6, 0.1)]
    assert tried == 2
    assert recall == max(alone)
    assert 2.0 <= float(head.scale().detach()) <= 1000.0


def test_an_ensemble_adds_the_cosines_of_its_forms() -> None:
    data, forms = world(), {"cca": {"shrink": [0.5]}, "ridge": {"ridge": [0.5]}}
    alone = [scores(data, computed({name: form})) for name, form in forms.items()]
    both = computed({"cca": {**forms["cca"], "weight": 3.0}, "ridge": forms["ridge"]})
    np.testing.assert_allclose(scores(data, both), 0.75 * alone[0] + 0.25 * alone[1], atol=1e-5)


@pytest.mark.parametrize(
    "forms",
    [
        {"procrustes": {}},
        {"asif": {"neighbours": [5]}},
        {"kernel-ridge": {"features": "exact"}},
        {"cca": {}, "kernel-ridge": {}, "random": {"kind": "kernel-ridge", "features": "fourier", "size": 32}},
        {"kernel-ridge": {"features": "nystrom", "size": 9, "direction": "text-to-image"}},
    ],
)
def test_what_is_saved_embeds_as_what_was_fitted(forms: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    data, spec = world(), computed(forms, whitening={})
    whole, choices = resolved(spec, data)
    head, _, _ = fit_closed(whole, data, 0, seed=0)
    images, texts = data.features.images.read(torch.arange(N)), data.features.texts.read(torch.arange(N))
    width = head.text_features(texts).shape[1]
    save_heads(head, tmp_path, 0)
    HeadConfig(
        aligner="toy",
        head=head_entry(spec),
        views={"image": "vit", "text": "minilm"},
        widths={"image": D, "text": E},
        embed_dim=width,
        fingerprints={"image": {"digest": "a"}, "text": {"digest": "b"}},
        data=("toy",),
        repeats=1,
        seeds=(0,),
        choices=choices,
    ).write(tmp_path)
    loaded = ProjectionHeads.from_folder(tmp_path)
    np.testing.assert_allclose(
        loaded.embed_image(images.cls.numpy(), images.local.numpy()), head.image_features(images), atol=1e-5
    )
    np.testing.assert_allclose(loaded.embed_text(texts.tokens[:, 0].numpy()), head.text_features(texts), atol=1e-5)
    patches = loaded.embed_patches(images.local.numpy())
    np.testing.assert_allclose(np.linalg.norm(patches, axis=-1), 1.0, atol=1e-5)
    assert loaded.logit_scale == pytest.approx(float(head.scale().detach()))


def test_too_many_images_for_an_exact_kernel_are_refused_with_what_would_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather_module, "LARGEST", 59)
    for form in ({"kernel-ridge": {"features": "exact"}}, {"asif": {}}):
        with pytest.raises(DataError, match=r"has 60 images.*features: auto.*leave asif out"):
            fit_closed(computed(form), world(), 0, seed=0)


# --- heads that training starts from ---


@pytest.mark.parametrize("sides", ["none", "text", "both"])
@pytest.mark.parametrize("init", ["ridge", "cca"])
def test_a_head_starts_as_its_closed_form(init: str, sides: str) -> None:
    data = world()
    started = trained("linear", init=init, embed_dim=E, whitening=whitening_of(sides))
    head = initial_head(started, data, TrainParams(dropout=0.0), 0)
    closed = computed({init: {}})
    images, texts = data.features.images.read(torch.arange(N)), data.features.texts.read(torch.arange(N))
    found = head.image_features(images) @ head.text_features(texts).T
    np.testing.assert_allclose(found.detach(), scores(data, closed), atol=1e-3)
    with pytest.raises(ModelError, match="embed_dim"):
        initial_head(started.model_copy(update={"embed_dim": 64}), data, TrainParams(), 0)


def test_inputs_are_whitened_by_the_train_split_alone() -> None:
    data = world()
    image, text = input_whitening(trained("linear", whitening={"sides": "both", "shrink": 1e-9}), data, 0)
    assert image is not None
    assert text is not None
    pairs = data.train[0]
    images, captions = data.features.images.read(pairs[:, 0]), data.features.texts.read(pairs[:, 1])
    for affine, rows in (
        (image[0], images.cls.float()),
        (image[1], images.local.float().mean(1)),
        (text, text_vector(captions)),
    ):
        white = affine(rows)
        torch.testing.assert_close(white.mean(0), torch.zeros(rows.shape[1]), atol=1e-3, rtol=0)
        torch.testing.assert_close(white.T @ white / len(white), torch.eye(rows.shape[1]), atol=1e-2, rtol=0)
    assert input_whitening(trained("linear"), data, 0) == (None, None)


# --- what cannot be fitted ---


def spoilt(side: str, value: float) -> AlignmentData:
    """`world` with every feature of a side alike, or with one value in it that is not finite."""
    data = world()
    images, texts = data.features.images.read(torch.arange(N)), data.features.texts.read(torch.arange(N + 20))
    for part in (images.cls, images.local) if side == "image" else (texts.tokens,):
        if np.isfinite(value):
            part.fill_(value)
        else:
            part[7].fill_(value)
    features = ResidentFeatures(images, texts, torch.device("cpu"))
    return AlignmentData(features, data.train, data.validation, {}, ("toy",))


FORMS: tuple[dict[str, Any], ...] = (
    {"cca": {}},
    {"ridge": {"direction": "text-to-image"}},
    {"procrustes": {}},
    {"asif": {}},
    {"kernel-ridge": {"features": "exact"}},
    {"kernel-ridge": {"features": "fourier", "size": 8}},
)


@pytest.mark.parametrize("forms", FORMS)
@pytest.mark.parametrize("side", ["image", "text"])
@pytest.mark.parametrize(("value", "complaint"), [(3.1, "that differ"), (np.nan, "finite"), (np.inf, "finite")])
def test_features_that_cannot_be_fitted_to_are_refused_by_side(
    forms: dict[str, Any], side: str, value: float, complaint: str
) -> None:
    data = spoilt(side, value)
    with pytest.raises(DataError, match=rf"{side} vectors of the train split of repeat 0") as caught:
        fit_closed(resolved(computed(forms), data)[0], data, 0, seed=0)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("forms", FORMS)
def test_a_single_constant_feature_does_no_harm(forms: dict[str, Any]) -> None:
    data = world()
    data.features.images.read(torch.arange(N)).cls[:, 0] = 0.1
    assert np.isfinite(scores(data, computed(forms))).all()


def test_whitening_before_a_trained_head_needs_features_that_differ() -> None:
    with pytest.raises(DataError, match="Expected text vectors of the train split of repeat 0 that differ"):
        input_whitening(trained(whitening={}), spoilt("text", 2.0), 0)


def test_a_large_common_offset_is_no_reason_to_refuse() -> None:
    x, y = paired()
    require_spread_of_pairs(moments(x + 1000, y), "some pairs")
    with pytest.raises(DataError, match="image vectors of some pairs that differ"):
        require_spread_of_pairs(moments(np.full_like(x, 0.1).astype(np.float32), y.astype(np.float32)), "some pairs")


@pytest.mark.parametrize(
    ("forms", "fitted", "kept"),
    [
        ({"ridge": {}}, (2 * D + E) + 2 * D * E, 0),  # both means, and a map of the joined vector
        ({"kernel-ridge": {"features": "exact"}}, 2 * D + E + 1 + 60 + 60 * E, 60 * 2 * D),
        ({"kernel-ridge": {"features": "fourier", "size": 8}}, 2 * D + E + 8 + 8 * E, 8 * 2 * D + 8),
        ({"asif": {}}, 2 * D + E + 4, 60 * (2 * D + E)),
    ],
)
def test_kept_training_rows_are_counted_apart(forms: dict[str, Any], fitted: int, kept: int) -> None:
    data = world()
    head, _, _ = fit_closed(resolved(computed(forms), data)[0], data, 0, seed=0)
    assert fitted_and_kept(head) == (fitted, kept)


SPANNED: list[dict[str, Any]] = [
    {"ridge": {"ridge": 0.3}},
    {"ridge": {"ridge": 0.3, "direction": "text-to-image"}},
    {"cca": {"shrink": 0.5}},
    {"cca": {"shrink": 0.5, "power": [0.5, 2.0]}},
    {"cca": {"shrink": 0.5, "embed_dim": 3}, "kernel-ridge": {"ridge": 0.3}},
    {"cca": {"shrink": 0.5}, "asif": {"neighbours": 5}},
]


@pytest.mark.parametrize("forms", SPANNED, ids=str)
@pytest.mark.parametrize("wide", ["image", "text", "both"])
def test_pairs_far_fewer_than_features_give_the_same_head(
    wide: str, forms: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the directions that they span, of which repeated images leave fewer than there are pairs."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 5, generator=draw), torch.randn(40, 5, generator=draw)
    x, y = x + 4, y + 0.7 * x
    if wide != "text":
        x = x @ torch.randn(5, 90, generator=draw) + torch.randn(40, 90, generator=draw)
    if wide != "image":
        y = y @ torch.randn(5, 90, generator=draw) + torch.randn(40, 90, generator=draw)
    images = ImageInput(x.half(), x[:, None].half() + 0.1)
    features = ResidentFeatures(images, TextInput.from_pooled(y.half()), torch.device("cpu"))
    further = torch.tensor([[0, 20], [0, 21]])  # captions of the first image
    train = torch.cat([torch.arange(20)[:, None].repeat(1, 2), further])
    validation = torch.arange(22, 40)[:, None].repeat(1, 2)
    data = AlignmentData(features, (train,), (validation,), {}, ("toy",))
    spec = resolved(computed(forms), data)[0]
    found = []
    for few in (4, 1_000_000):
        monkeypatch.setattr("pipeline.alignment.closed_form.moments.FEW", few)
        spans = gather_module.TrainingStatistics(spec, data, 0, seed=0).moments
        assert (spans.span_x is not None) == (few == 4 and wide != "text")
        assert (spans.span_y is not None) == (few == 4 and wide != "image")
        head, recall, _ = fit_closed(spec, data, 0, seed=0)
        kept = features.images.read(torch.arange(40)), features.texts.read(torch.arange(40))
        embedded = head.image_features(kept[0]), head.text_features(kept[1])
        found.append((embedded[0] @ embedded[1].T, recall, [one.shape for one in embedded]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-4, rtol=1e-3)
    assert found[0][1:] == found[1][1:]


@pytest.mark.parametrize("forms", [{"procrustes": {}}, {"cca": {"shrink": 0.5, "power": [0.0, 1.0]}}], ids=str)
def test_forms_that_map_more_than_the_span_take_all_features(forms: dict[str, Any]) -> None:
    data = world()
    few = AlignmentData(data.features, (data.train[0][:3],), data.validation, {}, ("toy",))
    assert gather_module.TrainingStatistics(computed({"ridge": {"ridge": 1.0}}), few, 0, 0).moments.span_x is not None
    assert gather_module.TrainingStatistics(computed(forms), few, 0, 0).moments.span_x is None
    with pytest.raises(ValueError, match="cannot be mapped"):
        moments_of_few(torch.randn(3, 20), torch.randn(3, 2)).mapped(torch.randn(20, 2), None)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_cca_of_wide_features_has_the_same_directions(power: float, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(200, 60, generator=draw) @ torch.randn(60, 60, generator=draw)
    y = x[:, :20] @ torch.randn(20, 20, generator=draw) + torch.randn(200, 20, generator=draw)
    sums = MomentSums()
    sums.add(x, y)
    maps = cca(sums.moments(), 0.3, power, 12)
    monkeypatch.setattr("pipeline.alignment.closed_form.linear._WIDE", 30)
    wide = cca(sums.moments(), 0.3, power, 12)
    x, y = x.double(), y.double()
    torch.testing.assert_close((x @ wide[0]) @ (y @ wide[1]).T, (x @ maps[0]) @ (y @ maps[1]).T)
    torch.testing.assert_close((x @ wide[0]).norm(dim=1), (x @ maps[0]).norm(dim=1))
