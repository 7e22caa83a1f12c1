"""One road for heads of every kind: what is written, in what order, and what of the parameters decides it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.alignment import HeadConfig, ProjectionHeads, fit_aligner
from pipeline.alignment.closed_form import fit as fit_module
from pipeline.alignment.closed_form import statistics as statistics_module
from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.closed_form.statistics import most_images
from pipeline.alignment.data.load import load_alignment_data
from pipeline.alignment.saved import head_entry
from pipeline.config import ClosedFormHead, EvaluatedAligner, FitSpec, LoadingParams, TrainParams
from pipeline.errors import ModelError
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.features import FeatureStore
from pipeline.paths import MODELS, store_folder
from tests.alignment.specs import computed, fit_of, head_of, settings_of, trained
from tests.alignment.toy import TEXT, VISION, World, write_store

CPU = torch.device("cpu")
PARAMS = TrainParams(epochs=2, min_steps=0, batch_size=64, warmup_steps=2, lr=3e-3, device="cpu")
FORMS = {"cca": {}, "mapped": {"kind": "kernel-ridge", "size": 40}}
FITS = {
    "trained": fit_of(trained(embed_dim=6)),
    "computed": fit_of(computed(FORMS, local_tokens="mean")),
    "identity": fit_of(head_of("identity"), image="tower"),
}


@pytest.fixture
def towers(world: World) -> World:
    """The world with a view of images as wide as that of texts."""
    for dataset in world.datasets:
        ids = FeatureStore.open(store_folder("pairs", "vit", dataset)).ids.tolist()
        cls = np.random.default_rng(0).normal(size=(len(ids), 1, TEXT)).astype(np.float16)
        write_store(store_folder("pairs", "tower", dataset), ids, {"cls": cls}, "digest-tower")
    return world


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("towers")
@pytest.mark.parametrize("kind", FITS)
def test_heads_of_every_kind_are_written_with_the_config_last(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before: list[set[str]] = []
    write = HeadConfig.write

    def watched(config: HeadConfig, folder: Path) -> None:
        before.append(files(folder))
        write(config, folder)

    monkeypatch.setattr(HeadConfig, "write", watched)
    config = fit_aligner(settings_of(FITS[kind], PARAMS, kind))
    weights = {"curves.csv", "repeat_0/heads.safetensors", "repeat_1/heads.safetensors"}
    assert before == [{"metrics.json"} if kind == "identity" else {"metrics.json", *weights}]
    assert files(MODELS / kind) == {"config.json", *before[0]}
    assert HeadConfig.read(MODELS / kind) == config
    assert config.head == head_entry(FITS[kind].head)
    assert config.views == {"image": FITS[kind].image, "text": "minilm"}
    assert config.widths == {"image": TEXT if kind == "identity" else VISION, "text": TEXT}
    assert config.fingerprints["image"]["digest"] == f"digest-{FITS[kind].image}"
    assert (config.parameters > 0, len(config.seeds), len(config.best_epochs)) == {
        "trained": (True, 2, 2),
        "computed": (True, 2, 0),
        "identity": (False, 0, 0),
    }[kind]
    for repeat in range(2):
        heads = ProjectionHeads.from_folder(MODELS / kind, repeat)
        assert heads.embed_text(np.ones((3, TEXT), np.float32)).shape == (3, config.embed_dim)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(("spare", "expected"), [(0, "exact"), (-1, "nystrom")])
def test_a_kernel_left_open_is_exact_for_as_many_images_as_that_is_meant_for(
    spare: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = FITS["computed"]
    data = load_alignment_data("default", fit, 2, CPU)
    images = most_images(data)
    assert images == max(len(set(pairs[:, 0].tolist())) for pairs in data.train)
    for module in (fit_module, statistics_module):
        monkeypatch.setattr(module, "LARGEST", images + spare)
    config = fit_aligner(settings_of(fit, PARAMS))
    written = json.loads((MODELS / "default/config.json").read_text())
    assert written["choices"] == config.choices == {"mapped": {"features": expected}}
    assert written["head"]["forms"]["mapped"]["features"] == "auto"
    assert isinstance(fit.head, ClosedFormHead)
    size = {"size": 40} if expected == "nystrom" else {}
    said = computed({**FORMS, "mapped": {"kind": "kernel-ridge", "features": expected, **size}}, local_tokens="mean")
    for repeat in range(2):
        rows = data.validation[repeat]
        pictures, texts = data.features.images.read(rows[:, 0]), data.features.texts.read(rows[:, 1])
        heads = ProjectionHeads.from_folder(MODELS / "default", repeat)
        anchors = {name: value for name, value in heads._head.named_buffers() if name.endswith("anchors")}
        assert [len(value) for value in anchors.values()] == [
            len(torch.unique(data.train[repeat][:, 0])) if expected == "exact" else 40
        ]
        for spec in (resolved(fit.head, data)[0], said):
            head, _, _ = fit_closed(spec, data, repeat, seed=repeat)
            np.testing.assert_allclose(
                heads.embed_image(pictures.cls.numpy(), pictures.local.numpy()),
                head.image_features(pictures),
                atol=1e-5,
            )
            np.testing.assert_allclose(
                heads.embed_text(texts.tokens[:, 0].numpy()), head.text_features(texts), atol=1e-5
            )


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize(("spare", "took", "kind"), [(0.01, "computed", "closed-form"), (0.0, "trained", "linear")])
def test_head_auto_takes_what_the_number_of_training_pairs_says(
    spare: float, took: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = min(map(len, load_alignment_data("default", FITS["computed"], 2, CPU).train))
    entry = {"computed": {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {"kind": "cca"}}}}
    entry["trained"] = {"kind": "linear", "local_tokens": "mean", "embed_dim": 6, "train": {"epochs": 1}}
    features = VISION + TEXT
    fit = fit_of(head_of("auto", pairs_per_feature=(pairs + spare) / features, **entry))
    with caplog.at_level("INFO"):
        config = fit_aligner(settings_of(fit, PARAMS, "chosen"))
    assert f"chosen takes its {took} head, {kind}: {pairs} training pairs, trained from" in caplog.text
    limit = pairs + 1 if spare else pairs
    expected = {"took": took, "kind": kind, "training_pairs": pairs, "trained_from": limit}
    assert config.choices["head"] == expected
    assert HeadConfig.read(MODELS / "chosen") == config
    assert (config.kind, config.local_tokens, config.head["kind"]) == (kind, "mean", "auto")
    assert len(config.best_epochs) == (2 if took == "trained" else 0)
    alone = fit_aligner(settings_of(fit_of(getattr(fit.head, took)), PARAMS, "alone"))
    x = np.random.default_rng(0).normal(size=(5, VISION)).astype(np.float32)
    for repeat in range(2):
        one, other = (ProjectionHeads.from_folder(MODELS / name, repeat) for name in ("chosen", "alone"))
        np.testing.assert_array_equal(one.embed_image(x, x[:, None]), other.embed_image(x, x[:, None]))
    assert (config.parameters, config.embed_dim) == (alone.parameters, alone.embed_dim)
    aligner = TrainedAligner("chosen", EvaluatedAligner(fit=fit), 2, CPU)
    assert aligner.heads(0).embed_image(x, x[:, None]).shape == (5, config.embed_dim)
    changed = fit_of(head_of("auto", pairs_per_feature=77.0, **entry))
    with pytest.raises(ModelError, match="Fit it again"):
        TrainedAligner("chosen", EvaluatedAligner(fit=changed), 2, CPU)


@pytest.mark.usefixtures("world")
def test_a_saved_head_auto_without_its_choice_is_refused() -> None:
    fit_aligner(settings_of(fit_of(head_of("auto")), PARAMS, "chosen"))
    path = MODELS / "chosen" / "config.json"
    written = json.loads(path.read_text())
    assert written["choices"]["head"]["took"] == "computed"
    path.write_text(json.dumps(written | {"choices": {}}))
    with pytest.raises(ModelError, match="does not describe an aligner"):
        HeadConfig.read(MODELS / "chosen")


def test_how_a_head_is_optimised_is_no_part_of_its_entry() -> None:
    plain, changed = trained(embed_dim=6), trained(embed_dim=6, train={"lr": 3e-4, "epochs": 3})
    assert plain != changed
    assert head_entry(plain) == head_entry(changed)
    assert "train" not in head_entry(plain)
    assert head_entry(plain) | {"embed_dim": 7} == head_entry(trained(embed_dim=7))
    moved = computed(FORMS, train={"features": "stream"})
    assert head_entry(moved) == head_entry(computed(FORMS))
    assert set(head_entry(moved)) == set(ClosedFormHead.model_fields) - {"train"}
    linear = {"kind": "linear", "local_tokens": "mean"}
    autos = [head_of("auto", trained={**linear, "train": train}) for train in ({}, {"lr": 3e-4})]
    assert autos[0] != autos[1]
    assert head_entry(autos[0]) == head_entry(autos[1])


def keys(content: Any) -> Iterator[str]:
    """Every key of nested JSON."""
    for key, inner in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(content, dict):
            yield key
        if isinstance(inner, dict | list):
            yield from keys(inner)


def settings(fit: FitSpec, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(settings_of(fit, TrainParams(**params)).model_dump_json())
    return found


def test_a_computed_head_reads_nothing_of_the_optimiser() -> None:
    optimiser = set(TrainParams.model_fields) - set(LoadingParams.model_fields)
    assert {"lr", "epochs", "batch_size", "seed"} & optimiser == {"lr", "epochs", "batch_size"}
    found = settings(FITS["computed"])
    assert found["train"] is None
    assert set(found["loading"]) == set(LoadingParams.model_fields)
    assert not optimiser & set(keys(found))
    assert settings(FITS["computed"], lr=1e-2, epochs=3, members={"one": {}}) == found
    assert settings(FITS["computed"], shuffle_block=7)["loading"]["shuffle_block"] == 7
    own = fit_of(computed(FORMS, train={"shuffle_block": 9}))
    assert settings(own, shuffle_block=7)["loading"]["shuffle_block"] == 9


def test_a_trained_head_reads_all_of_train_and_identity_none_of_it() -> None:
    found = settings(fit_of(trained(train={"lr": 3e-4})), lr=1e-3, epochs=3)
    assert found["loading"] is None
    assert (found["train"]["lr"], found["train"]["epochs"]) == (3e-4, 3)
    assert set(found["train"]) == set(TrainParams.model_fields)
    found = settings(FITS["identity"], lr=1e-2, features="host")
    assert (found["train"], found["loading"]) == (None, None)
    assert not set(TrainParams.model_fields) & set(keys(found["fit"]))
