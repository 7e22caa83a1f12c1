"""Heads on fused views: the same as on one view of standardised features that numpy has put side by side."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.alignment import HeadConfig, ProjectionHeads, fit_aligner
from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.fusion import InputMaps, input_maps, through
from pipeline.config import FitSpec, FittedHead, FusedView, LoadingParams, Side, TrainParams, TrainSettings
from pipeline.errors import DataError, FingerprintMismatch, ModelError
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.features import FeatureStore
from pipeline.paths import MODELS, store_folder
from tests.alignment.specs import computed, evaluated, trained
from tests.alignment.toy import TEXT, VISION, World, write_store

CPU = torch.device("cpu")
LITE, SECOND = 10, 7  # widths of the other view of images and of texts
FORMS = {"cca": {"shrink": 1.0}, "kernel-ridge": {"ridge": 0.3}}
PARAMS = TrainParams(epochs=3, min_steps=0, batch_size=64, warmup_steps=2, lr=3e-3, device="cpu")


@pytest.fixture
def two(world: World) -> World:
    """The world with a second view of images, of other units and with an offset, and one of texts."""
    for dataset in world.datasets:
        rng = np.random.default_rng(5)
        ids = FeatureStore.open(store_folder("pairs", "vit", dataset)).ids.tolist()
        vit = FeatureStore.open(store_folder("pairs", "vit", dataset)).read("cls", ids)[:, -1].astype(float)
        lite = 30 * vit @ rng.normal(size=(VISION, LITE)) + 100
        order = rng.permutation(len(ids))
        arrays = {"cls": lite[order], "mean": (lite + rng.normal(size=lite.shape))[order]}
        half = {name: array.astype(np.float16)[:, None] for name, array in arrays.items()}
        write_store(store_folder("pairs", "lite", dataset), [ids[row] for row in order], half, "digest-lite")
        texts = FeatureStore.open(store_folder("pairs", "minilm", dataset))
        pooled = texts.read("pooled", texts.ids) @ rng.normal(size=(TEXT, SECOND)) / 50
        arrays = {"pooled": pooled.astype(np.float16)}
        write_store(store_folder("pairs", "second", dataset), texts.ids.tolist(), arrays, "digest-second")
    return world


def rewrite(folder: Path, ids: list[str], arrays: dict[str, np.ndarray], digest: str = "digest-lite") -> None:
    """Another store in the place of one."""
    shutil.rmtree(folder)
    write_store(folder, ids, arrays, digest)


def fused(head: FittedHead, scale: str = "rms", sides: tuple[Side, ...] = ("image", "text")) -> FitSpec:
    members: dict[Side, tuple[str, ...]] = {"image": ("vit", "lite"), "text": ("minilm", "second")}
    fusions = {side: FusedView(concat=members[side], scale=scale) for side in sides}  # type: ignore[arg-type]
    names = {"image": "vit", "text": "minilm"} | {side: f"both-{side}" for side in sides}
    return FitSpec(**names, datasets=("emoji", "stamps"), data="all", head=head, fusions=fusions)


def settings(fit: FitSpec, name: str = "joint", repeats: int = 2, **loading: Any) -> TrainSettings:
    own = PARAMS.changed(fit.head.train) if fit.head.kind != "closed-form" else None  # type: ignore[union-attr]
    plain = LoadingParams(device="cpu", **loading) if own is None else None
    return TrainSettings(name=name, fit=fit, train=own, loading=plain, repeats=repeats, seed=0)


def stored(view: str, name: str) -> dict[str, np.ndarray]:
    """Every row of a view by id, of all data sets, float64."""
    rows: dict[str, np.ndarray] = {}
    for dataset in ("emoji", "stamps"):
        store = FeatureStore.open(store_folder("pairs", view, dataset))
        values = store.read(name, store.ids).astype(float)
        values = values[:, -1] if name != "pooled" else values
        rows |= {key: row for key, row in zip(store.ids.tolist(), values, strict=True) if key not in rows}
    return rows


def training_ids(world: World, column: str) -> list[str]:
    inside = {sample["image_id"] for sample in world.samples if sample["split_0"] == "train"}
    pairs = [pair for pair in world.pairs if pair["image_id"] in inside and pair["language"] == "en"]
    return sorted({pair[column] for pair in pairs})


def standardised(world: World, view: str, name: str, column: str, scale: str) -> dict[str, np.ndarray]:
    """By hand: each row of a view less the mean of the training rows, by the scale."""
    rows = stored(view, name)
    train = np.stack([rows[key] for key in training_ids(world, column)])
    mean, centred = train.mean(0), train - train.mean(0)
    if scale == "whiten":
        values, vectors = np.linalg.eigh(centred.T @ centred / len(train))
        matrix = vectors @ np.diag((values.clip(0) + 0.3 * values.mean()) ** -0.5) @ vectors.T
    else:
        power = np.mean(centred**2) if scale == "rms" else np.mean((centred**2).sum(1))
        matrix = np.eye(len(mean)) / np.sqrt(power)
    return {key: (row - mean) @ matrix for key, row in rows.items()}


def side_by_side(world: World, scale: str) -> dict[str, dict[str, np.ndarray]]:
    """Array name -> id -> features of all views in a row, standardised."""
    out = {}
    for name, column, views in (
        ("cls", "image_id", ("vit", "lite")),
        ("mean", "image_id", ("vit", "lite")),
        ("pooled", "text_id", ("minilm", "second")),
    ):
        parts = [standardised(world, view, name, column, scale) for view in views]
        out[name] = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return out


def write_explicit(world: World, scale: str) -> dict[str, dict[str, np.ndarray]]:
    """Views `joined` and `words` that hold what fusing gives."""
    joined = side_by_side(world, scale)
    for dataset in world.datasets:
        for view, base, names in (("joined", "vit", ("cls", "mean")), ("words", "minilm", ("pooled",))):
            ids = FeatureStore.open(store_folder("pairs", base, dataset)).ids.tolist()
            arrays = {name: np.stack([joined[name][key] for key in ids]).astype(np.float32) for name in names}
            if view == "joined":
                arrays = {name: array[:, None] for name, array in arrays.items()}
            write_store(store_folder("pairs", view, dataset), ids, arrays, f"digest-{view}")
    return joined


@pytest.mark.parametrize("scale", ["rms", "share", "whiten"])
def test_maps_are_those_of_the_training_rows(two: World, scale: str) -> None:
    head = computed(FORMS, local_tokens="mean")
    data = load_alignment_data("joint", fused(head, scale), 2, CPU)
    maps = input_maps(data, 0)
    assert maps is not None
    seen = through(data, maps).features
    rows = torch.arange(20)
    raw, images, texts = data.features.images.read(rows), seen.images.read(rows), seen.texts.read(rows)
    expected = side_by_side(two, scale)
    by_cls = {tuple(stored("vit", "cls")[key]): key for key in expected["cls"]}
    keys = [by_cls[tuple(row[:VISION].double().tolist())] for row in raw.cls]
    np.testing.assert_allclose(images.cls, np.stack([expected["cls"][key] for key in keys]), atol=2e-4)
    np.testing.assert_allclose(images.local[:, 0], np.stack([expected["mean"][key] for key in keys]), atol=2e-4)
    near = texts.tokens[:, 0].numpy()[:, None] - np.stack(list(expected["pooled"].values()))
    assert np.abs(near).max(-1).min(1).max() < 2e-4
    pairs = data.train[0]
    for batch in seen_batches(data, maps, pairs):
        alone = seen.images.read(batch.image_ids)
        torch.testing.assert_close(batch.images.cls, alone.cls)
        torch.testing.assert_close(batch.images.local, alone.local)
        torch.testing.assert_close(batch.texts.tokens, seen.texts.read(batch.text_ids).tokens)


def seen_batches(data: Any, maps: InputMaps, pairs: torch.Tensor) -> list[Any]:
    batches = list(through(data, maps).features.epoch(pairs, 16, torch.Generator().manual_seed(0), 1))
    assert sum(map(len, batches)) == len(pairs)
    return batches


HEADS: Mapping[str, FittedHead] = {
    "computed": computed(FORMS, local_tokens="mean"),
    "asif": computed({"asif": {"neighbours": 20}}, local_tokens="none", image_input="cls"),
    "whitened": computed({"ridge": {}}, local_tokens="mean", whitening={}),
    "freeze-align": trained(local_tokens="mean", embed_dim=6),
    "no-local": trained(local_tokens="none", embed_dim=6),
    "started": trained("linear", init="cca", local_tokens="mean", embed_dim=4),
    "sigmoid": trained("mlp", local_tokens="mean", embed_dim=6, loss={"kind": "sigmoid"}, whitening={}),
}


@pytest.mark.parametrize(("name", "scale"), [*((name, "share") for name in HEADS), ("computed", "whiten")])
def test_a_head_is_the_one_of_explicit_concatenation(two: World, name: str, scale: str) -> None:
    joined = write_explicit(two, scale)
    head = HEADS[name]
    config = fit_aligner(settings(fused(head, scale)))
    explicit = FitSpec(image="joined", text="words", datasets=("emoji", "stamps"), data="all", head=head)
    fit_aligner(settings(explicit, "explicit"))
    ours, theirs = (ProjectionHeads.from_folder(MODELS / folder) for folder in ("joint", "explicit"))
    assert config.widths == {"image": VISION + LITE, "text": TEXT + SECOND}
    raw = {
        part: {key: np.concatenate([one[key], two_[key]]) for key in one}
        for part, one, two_ in (
            ("cls", stored("vit", "cls"), stored("lite", "cls")),
            ("mean", stored("vit", "mean"), stored("lite", "mean")),
            ("pooled", stored("minilm", "pooled"), stored("second", "pooled")),
        )
    }

    def images(heads: ProjectionHeads, of: Mapping[str, Mapping[str, np.ndarray]]) -> np.ndarray:
        cls, mean = (np.stack(list(of[part].values())).astype(np.float32) for part in ("cls", "mean"))
        return heads.embed_image(cls, mean[:, None] if config.local_tokens == "mean" else mean[:, None][:, :0])

    texts = [
        heads.embed_text(np.stack([of["pooled"][key] for key in raw["pooled"]]).astype(np.float32))
        for heads, of in ((ours, raw), (theirs, joined))
    ]
    mine, other = images(ours, raw), images(theirs, {part: {k: joined[part][k] for k in raw[part]} for part in raw})
    np.testing.assert_allclose(mine @ texts[0].T, other @ texts[1].T, atol=5e-3)
    assert np.std(mine @ texts[0].T) > 0.05


def test_a_saved_head_is_read_back_to_the_bit_and_counts_its_maps(two: World) -> None:
    assert two
    config = fit_aligner(settings(fused(HEADS["computed"])))
    assert HeadConfig.read(MODELS / "joint") == config
    assert config.fusions["image"] == {"modality": "fused", "concat": ["vit", "lite"], "scale": "rms", "shrink": 0.3}
    assert list(config.members("image")) == ["vit", "lite"]
    assert [one["digest"] for one in config.members("text").values()] == ["digest-minilm", "digest-second"]
    alone = fit_aligner(settings(fused(HEADS["computed"], sides=("image",)), "alone"))
    assert alone.members("text") == {"minilm": alone.fingerprints["text"]}
    rng = np.random.default_rng(0)
    cls, mean = rng.normal(size=(2, 5, VISION + LITE)).astype(np.float32)
    first, again = (ProjectionHeads.from_folder(MODELS / "joint") for _ in range(2))
    np.testing.assert_array_equal(first.embed_image(cls, mean[:, None]), again.embed_image(cls, mean[:, None]))
    state = first.head.state_dict()
    assert {"cls_map.maps.1.mean", "local_map.maps.0.scale", "text_map.maps.1.scale"} <= state.keys()
    assert len(state["cls_map.maps.1.mean"]) == LITE


def test_streamed_features_give_the_same_head(two: World) -> None:
    assert two
    for name, features in (("resident", "host"), ("streamed", "stream")):
        fit_aligner(settings(fused(HEADS["computed"]), name, features=features))
    rng = np.random.default_rng(0)
    cls, mean = rng.normal(size=(2, 5, VISION + LITE)).astype(np.float32)
    one, other = (ProjectionHeads.from_folder(MODELS / name) for name in ("resident", "streamed"))
    np.testing.assert_allclose(one.embed_image(cls, mean[:, None]), other.embed_image(cls, mean[:, None]), atol=1e-4)


def test_a_row_that_one_store_lacks_is_named_and_left_out(two: World, caplog: pytest.LogCaptureFixture) -> None:
    assert two
    folder = store_folder("pairs", "lite", "emoji")
    whole = FeatureStore.open(folder)
    lost, kept = str(whole.ids[4]), [key for key in whole.ids.tolist() if key != whole.ids[4]]
    arrays = {name: whole.read(name, kept) for name in ("cls", "mean")}
    before = load_alignment_data("joint", fused(HEADS["computed"]), 2, CPU)
    rewrite(folder, kept, arrays)
    data = load_alignment_data("joint", fused(HEADS["computed"]), 2, CPU)
    assert f"the first '{lost}': view 'lite' has no such row" in caplog.text
    everything = [len(one.train[0]) + len(one.validation[0]) for one in (before, data)]
    in_test = next(sample["split_0"] for sample in two.samples if sample["image_id"] == lost) == "test"
    assert everything[0] - everything[1] == (0 if in_test else 1)
    assert not in_test or data.features.images.width == VISION + LITE


def test_vectors_of_evaluation_are_those_of_the_stored_rows(two: World) -> None:
    fit = fused(HEADS["computed"])
    fit_aligner(settings(fit))
    (spec,) = evaluated({"joint": fit}).values()
    aligner = TrainedAligner("joint", spec, 2, CPU)
    ids = np.array(sorted(key for key in stored("lite", "cls") if key.startswith("emoji"))[:6])
    assert aligner.has_image("emoji", ids).all()
    cls, mean = (
        np.stack([np.concatenate([stored("vit", name)[key], stored("lite", name)[key]]) for key in ids])
        for name in ("cls", "mean")
    )
    expected = aligner.heads(0).embed_image(cls.astype(np.float32), mean.astype(np.float32)[:, None])
    np.testing.assert_allclose(aligner.image_vectors(0, "emoji", ids), expected, atol=1e-6)
    prompts = FeatureStore.open(store_folder("prompts", "minilm", "classnames"))
    own = prompts.read("pooled", prompts.ids)
    second = np.random.default_rng(1).normal(size=(len(own), SECOND)).astype(np.float16)
    folder = store_folder("prompts", "second", "classnames")
    write_store(folder, prompts.ids.tolist(), {"pooled": second}, "digest-second")
    vectors = aligner.heads(0).embed_text(np.concatenate([own, second], axis=1)[:5])
    found = aligner.text_vectors(0, "prompts", "classnames", prompts.ids[:5])
    np.testing.assert_allclose(found, vectors, atol=1e-6)
    assert aligner.text_features("prompts", "classnames", prompts.ids[:5]).shape == (5, TEXT + SECOND)
    (other,) = evaluated({"joint": fused(HEADS["computed"], "whiten")}).values()
    with pytest.raises(ModelError, match="dvc repro train_fused@joint"):
        TrainedAligner("joint", other, 2, CPU)
    store = FeatureStore.open(store_folder("pairs", "lite", "stamps"))
    arrays = {name: store.read(name, store.ids) for name in ("cls", "mean")}
    rewrite(store_folder("pairs", "lite", "stamps"), store.ids.tolist(), arrays, "digest-other")
    with pytest.raises(FingerprintMismatch, match="of view 'both-image'.*dvc repro train_fused@joint"):
        TrainedAligner("joint", spec, 2, CPU).has_image("stamps", store.ids[:1])
    with pytest.raises(FingerprintMismatch, match="stores of view 'lite' hold features of different encoders"):
        load_alignment_data("joint", fit, 2, CPU)
    assert two


def test_a_view_that_is_always_the_same_is_named(two: World) -> None:
    for dataset in two.datasets:
        folder = store_folder("pairs", "lite", dataset)
        ids = FeatureStore.open(folder).ids.tolist()
        same = np.ones((len(ids), 1, LITE), np.float16)
        rewrite(folder, ids, {"cls": same, "mean": same})
    with pytest.raises(DataError, match="image features of view 'lite' in the train split of repeat 0 that differ"):
        fit_aligner(settings(fused(HEADS["computed"])))


@pytest.mark.parametrize("spoil", ["fusions", "members", "digest"])
def test_a_config_whose_fusion_does_not_hold_is_refused(two: World, spoil: str) -> None:
    assert two
    config = fit_aligner(settings(fused(HEADS["computed"])))
    image = config.fingerprints["image"]
    changed = {
        "fusions": {"fusions": {"text": config.fusions["text"]}},
        "members": {"fingerprints": config.fingerprints | {"image": image | {"members": {"vit": {"digest": "x"}}}}},
        "digest": {"fingerprints": config.fingerprints | {"image": image | {"digest": "x"}}},
    }[spoil]
    replace(config, **changed).write(MODELS / "joint")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="does not describe an aligner of this project"):
        HeadConfig.read(MODELS / "joint")


def test_an_aligner_without_fusion_is_written_as_before(world: World) -> None:
    fit = FitSpec(image="vit", text="minilm", datasets=("emoji", "stamps"), data="all", head=HEADS["computed"])
    fit_aligner(settings(fit, "plain"))
    written = json.loads((Path(MODELS) / "plain/config.json").read_text())
    assert written["fusions"] == {}
    del written["fusions"]
    (Path(MODELS) / "plain/config.json").write_text(json.dumps(written))
    assert HeadConfig.read(MODELS / "plain").fusions == {}, "configs of before hold none"
    assert world
