"""Captions that find their patches: every step against a slow way, and objects that were planted without a mask."""

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from pipeline.alignment.dense import DenseHead, fit_dense_head
from pipeline.alignment.dense.captions import affinities, caption_regions, foreground, otsu, principal
from pipeline.config import CaptionHeadSpec
from pipeline.errors import DataError
from tests.evaluation.dense_world import DenseWorld
from tests.evaluation.scene_world import REPEATS, SIDE, WIDTH

CONCEPTS, D, T, GRID = 12, 16, 10, (6, 6)


def how(**keys: Any) -> CaptionHeadSpec:
    entry = {"image": "eye-dense", "text": "words", "scenes": "training", "supervision": "captions"}
    return CaptionHeadSpec.model_validate(entry | keys)


def unit(x: np.ndarray) -> np.ndarray:
    return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))


def planted(pictures: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pictures of three objects in 2 x 2 patches on a ground: tokens, texts, pictures, and where each object is."""
    rng = np.random.default_rng(0)
    looks, names, ground = rng.normal(size=(CONCEPTS, D)), unit(rng.normal(size=(CONCEPTS, T))), rng.normal(size=D)
    patch = ground + 0.3 * rng.normal(size=(pictures, *GRID, D))
    texts, picture, shares = [], [], []
    corners = [(1, 1), (1, 3), (3, 1), (3, 3)]
    for number in range(pictures):
        concepts = rng.choice(CONCEPTS, 3, replace=False)
        for concept, place in zip(concepts, rng.permutation(4), strict=False):
            row, column = corners[place]
            patch[number, row : row + 2, column : column + 2] = looks[concept] + 0.3 * rng.normal(size=(2, 2, D))
            share = np.zeros(GRID)
            share[row : row + 2, column : column + 2] = 0.25
            texts.append(names[concept])
            picture.append(number)
            shares.append(share.ravel())
    return patch.reshape(pictures, -1, D), np.array(texts), np.array(picture), np.array(shares)


def test_captions_find_their_objects_without_masks() -> None:
    patch, texts, picture, shares = planted()
    true = np.einsum("np,npd->nd", shares, patch[picture])
    all_of_it = patch[picture].mean(axis=1)

    def error(tokens: np.ndarray) -> float:
        return float(((tokens - true) ** 2).sum() / ((all_of_it - true) ** 2).sum())

    assert error(caption_regions(patch, GRID, texts, picture, how())) < 0.05
    permuted = np.random.default_rng(1).permutation(texts)
    assert error(caption_regions(patch, GRID, permuted, picture, how())) > 0.3, "other captions find nothing"


def test_one_round_is_its_definition() -> None:
    patch, texts, picture, _ = planted(8)
    patch, texts = patch.astype(np.float32), texts.astype(np.float32)
    keys = how(iterations=1, matching=0.2, temperature=0.1, directions=4)
    seen = foreground(torch.from_numpy(patch), GRID).numpy()
    alike = affinities(torch.from_numpy(patch)).numpy()
    few = PCA(4).fit_transform(texts.astype(np.float64))
    owned = np.stack([patch[number][seen[number]].mean(axis=0) for number in picture]).astype(np.float64)
    penalty = 0.2 * (owned - owned.mean(axis=0)).var(axis=0).mean() * len(owned)
    model = Ridge(alpha=penalty).fit(owned, few)
    expected = np.empty_like(owned)
    for number in range(8):
        mine = np.flatnonzero(picture == number)
        cosine = unit(few[mine]) @ unit(model.predict(patch[number])).T @ alike[number].T / 0.1
        of_patch = np.exp(cosine) / np.exp(cosine).sum(axis=0)
        of_caption = np.exp(cosine) / np.exp(cosine).sum(axis=1, keepdims=True)
        weight = of_patch * of_caption * seen[number]
        expected[mine] = weight / weight.sum(axis=1, keepdims=True) @ patch[number]
    assert caption_regions(patch, GRID, texts, picture, keys) == pytest.approx(expected, abs=2e-3)


def test_the_foreground_is_unlike_the_border() -> None:
    patch, _, picture, shares = planted()
    found = foreground(torch.from_numpy(patch), GRID).numpy()
    true = np.zeros_like(found)
    np.logical_or.at(true, picture, shares > 0)
    assert (found == true).mean() > 0.98


def test_affinities_are_a_softmax_of_cosines() -> None:
    patch = np.random.default_rng(2).normal(size=(3, 5, D))
    mean, expected = patch.mean(axis=(0, 1)), np.zeros((3, 5, 5))
    for picture, here in product(range(3), range(5)):
        cosines = unit(patch[picture] - mean) @ unit(patch[picture, here] - mean)
        weights = np.exp(cosines / 0.1)
        expected[picture, here] = weights / weights.sum()
    assert affinities(torch.from_numpy(patch)).numpy() == pytest.approx(expected)


def test_principal_directions_are_scikit_learns() -> None:
    x = np.random.default_rng(3).normal(size=(40, T))
    found, expected = principal(torch.from_numpy(x), 3).numpy(), PCA(3).fit_transform(x)
    assert found @ found.T == pytest.approx(expected @ expected.T)
    whole, centred = principal(torch.from_numpy(x), 99).numpy(), x - x.mean(axis=0)
    assert whole @ whole.T == pytest.approx(centred @ centred.T)


def test_a_cut_has_the_most_variance_between_its_sides() -> None:
    rng = np.random.default_rng(4)
    values = np.concatenate([rng.normal(-1, 0.4, 200), rng.normal(2, 0.6, 50)])
    edges = np.linspace(values.min(), values.max(), 65)
    binned = (edges[1:] + edges[:-1])[np.clip(np.searchsorted(edges, values, "right") - 1, 0, 63)] / 2

    def between(cut: float) -> float:
        low, high = binned[binned < cut], binned[binned > cut]
        return len(low) * len(high) * float(low.mean() - high.mean()) ** 2

    assert between(otsu(values)) == pytest.approx(max(map(between, edges[1:-1])))
    assert otsu(np.full(7, 0.25)) == 0.25


# --- through the stage ---


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> DenseWorld:
    world = DenseWorld(tmp_path_factory.mktemp("captions"))
    world.write()
    return world


@pytest.fixture
def world(shared: DenseWorld, monkeypatch: pytest.MonkeyPatch) -> DenseWorld:
    monkeypatch.chdir(shared.root)
    return shared


@pytest.mark.parametrize("repeat", range(REPEATS))
def test_a_head_learns_from_the_captions_of_train_objects(world: DenseWorld, repeat: int) -> None:
    fit_dense_head("told", how(), REPEATS)
    split = {row["image_id"]: row[f"split_{repeat}"] for row in world.samples}
    chosen = [thing for thing in world.training_scenes().objects if split[thing.piece_id] == "train" and thing.pixels]
    chosen.sort(key=lambda thing: (thing.scene, thing.instance))
    scenes, picture = np.unique([thing.scene for thing in chosen], return_inverse=True)
    texts = np.stack([world.caption_vectors[thing.piece_id] for thing in chosen]).astype(np.float32)
    tokens = caption_regions(world.training_patch["eye"][scenes], (SIDE, SIDE), texts, picture, how())
    head = DenseHead.from_folder("told", repeat)
    assert tokens.shape == (len(chosen), WIDTH)
    assert head.weight == pytest.approx(DenseHead.fit(tokens, texts, 0.3, {}).weight, abs=5e-3)


def test_no_mask_is_read(world: DenseWorld) -> None:
    fit_dense_head("told", how(), REPEATS)
    before = DenseHead.from_folder("told", 0).weight
    path = Path("data/index/scenes/training/masks.npz")
    kept, instances = path.read_bytes(), world.training_scenes().instances
    try:
        np.savez_compressed(path, instances=np.zeros_like(instances))
        fit_dense_head("told", how(), REPEATS)
    finally:
        path.write_bytes(kept)
    assert DenseHead.from_folder("told", 0).weight.tolist() == before.tolist()


@pytest.mark.usefixtures("world")
def test_it_needs_patch_tokens() -> None:
    with pytest.raises(DataError, match="tier: full"):
        fit_dense_head("flat", how(image="flat"), REPEATS)
