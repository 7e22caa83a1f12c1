"""Which pair of views a comparison chooses, on which samples, and what a head records of it."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.alignment import HeadConfig, fit_aligner
from pipeline.config import AUTO, CompareSpec, EvaluatedAligner, FitSpec, TrainParams, TrainSettings
from pipeline.errors import DataError, FingerprintMismatch, ModelError
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.features import FeatureStore
from pipeline.paths import COMPARE, MODELS, store_folder
from pipeline.similarity import candidates as candidates_module
from pipeline.similarity.auto import with_chosen_views
from pipeline.similarity.candidates import Candidates, ImageSpace, TextSpace, read_candidates
from pipeline.similarity.choice import choose, sentence
from pipeline.similarity.cka import unbiased_linear_cka
from pipeline.similarity.compare import compare_views
from pipeline.similarity.neighbours import mutual_knn
from pipeline.similarity.samples import Captioned
from tests.alignment.specs import computed, fit_of, settings_of
from tests.alignment.toy import World, write_store

HEAD = computed({"cca": {}}, local_tokens="mean")


def samples(n: int = 120, repeats: int = 2) -> Captioned:
    """Families of 2; the first third is tested in repeat 0, the second in repeat 1."""
    names = np.array([f"{i:04d}" for i in range(n)], dtype=object)
    splits = np.full((n, repeats), "train", dtype=object)
    for repeat in range(repeats):
        splits[repeat * n // 3 : (repeat + 1) * n // 3, repeat] = "test"
    family = np.array([f"f{i // 2}" for i in range(n)], dtype=object)
    return Captioned(np.full(n, "d", dtype=object), names, family, tuple((name,) for name in names), splits)


def spaces(noise: dict[str, float], kept: Captioned, seed: int = 0) -> Candidates:
    """Image views that are a turned text space and noise; two layers each, of which only the last is related."""
    generator = np.random.default_rng(seed)
    text = generator.normal(size=(len(kept), 12))
    images = []
    for view, size in noise.items():
        turned = text @ np.linalg.qr(generator.normal(size=(12, 12)))[0]
        images.append(ImageSpace(view, 1, "cls", text.copy()))  # an earlier layer that agrees with the texts by itself
        images.append(ImageSpace(view, 2, "cls", turned + size * generator.normal(size=text.shape)))
        images.append(ImageSpace(view, 2, "mean", generator.normal(size=text.shape)))
    return Candidates(kept, tuple(images), (TextSpace("words", text),))


def spec(images: tuple[str, ...], **keys: Any) -> CompareSpec:
    return CompareSpec(datasets=("d",), images=images, texts=("words",), control="blind", neighbours=4, **keys)


@pytest.mark.parametrize("by", ["probe", "mutual_knn", "cka"])
def test_a_clear_winner_is_told_apart_and_equals_are_not(by: Any) -> None:
    kept = samples()
    params = spec(("good", "bad", "blind"), choose_by=by)
    choice, reason = choose(spaces({"bad": 3.0, "good": 0.3, "blind": 0.0}, kept), params, seed=0)
    assert reason is None
    assert choice is not None
    assert [(entry["image"], entry["layer"], entry["pooling"]) for entry in choice["ranking"]] == [
        ("good", 2, "cls"),
        ("bad", 2, choice["ranking"][1]["pooling"]),
    ]
    assert choice["samples"] == 40
    assert choice["first_over_second"]["told_apart"]
    assert "the two are told apart" in sentence(choice)
    told = 0
    for seed in range(10):
        alike, _ = choose(spaces({"good": 1.0, "bad": 1.0}, kept, seed), params, seed)
        assert alike is not None
        told += alike["first_over_second"]["told_apart"]
    assert told <= 3
    low, high = choice["ranking"][0]["interval"]
    assert low <= choice["ranking"][0][by] <= high


def test_the_figures_are_those_of_samples_that_no_repeat_tests() -> None:
    kept = samples()
    found = spaces({"good": 0.5}, kept)
    choice, _ = choose(found, spec(("good", "blind")), seed=0)
    assert choice is not None
    free = slice(80, 120)
    image, text = found.images[1].features[free], found.texts[0].features[free]
    entry = choice["ranking"][0]
    assert entry["cka"] == pytest.approx(unbiased_linear_cka(image, text), abs=1e-6)
    assert entry["mutual_knn"] == pytest.approx(mutual_knn(image, text, 4), abs=1e-6)
    assert choice["first_over_second"] is None
    assert "the only one" in sentence(choice)
    for candidate in (*found.images, *found.texts):
        candidate.features[:80] = np.nan  # tested in some repeat: not looked at
    assert choose(found, spec(("good", "blind")), seed=0)[0] == choice


def test_no_choice_without_samples_or_candidates() -> None:
    kept = samples(30)
    choice, reason = choose(spaces({"good": 0.5}, kept), spec(("good", "blind")), seed=0)
    assert choice is None
    assert reason is not None
    assert "10 samples of 5 families are in the test split of no repeat" in reason
    assert choose(spaces({"blind": 0.5}, samples()), spec(("blind",)), seed=0)[0] is None
    large = samples()
    large.family[80:112] = "one family"  # what is left without it is not more than the neighbours
    large.family[112:] = [f"own{i}" for i in range(8)]
    assert choose(spaces({"good": 0.5}, large), spec(("good", "blind")), seed=0)[0] is None
    large.family[100:112] = [f"more{i}" for i in range(12)]
    assert choose(spaces({"good": 0.5}, large), spec(("good", "blind")), seed=0)[0] is not None


# --- aligners under `auto`, on disk ---


@pytest.fixture
def compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose comparison was made; `control` has the features of other pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(candidates_module, "POOLINGS", ("cls",))
    world = World(tmp_path, families=40, concepts_per_family=2).write()
    for dataset in world.datasets:
        store = FeatureStore.open(store_folder("pairs", "control", dataset))
        write_store(
            store_folder("pairs", "other", dataset),
            store.ids.tolist(),
            {"cls": store.read("cls", store.ids), "mean": store.read("mean", store.ids)},
            "digest-other",
        )
    compare()
    return world


def compare() -> str:
    params = CompareSpec(
        datasets=("emoji", "stamps"), images=("other", "vit", "control"), texts=("minilm",), control="control",
        neighbours=5, permutations=20,
    )  # fmt: skip
    return compare_views(params, repeats=2, seed=0, out=COMPARE / "mine")


def auto(**keys: Any) -> FitSpec:
    return fit_of(HEAD).model_copy(update={"image": AUTO, "text": AUTO, "compare": "mine"} | keys)


def settings(fit: FitSpec) -> TrainSettings:
    return settings_of(fit_of(HEAD), TrainParams(device="cpu"), "best").model_copy(update={"fit": fit})


@pytest.mark.usefixtures("compared")
def test_the_winner_is_fitted_recorded_and_evaluated() -> None:
    config = fit_aligner(settings(auto()))
    assert config.views == {"image": "vit", "text": "minilm"}
    digests = {"image": "digest-vit", "text": "digest-minilm"}
    chosen = {"compare": "mine", "by": "probe", "rank": 1, "of": 2, "fingerprints": digests}
    assert HeadConfig.read(MODELS / "best").choices["views"] == chosen
    aligner = TrainedAligner("best", EvaluatedAligner(fit=auto()), 2, torch.device("cpu"))
    ids = FeatureStore.open(store_folder("pairs", "vit", "emoji")).ids[:3]
    assert aligner.image_vectors(0, "emoji", ids).shape[0] == 3
    plain = fit_aligner(settings_of(fit_of(HEAD), TrainParams(device="cpu"), "plain"))
    weights = [(MODELS / name / "repeat_0/heads.safetensors").read_bytes() for name in ("best", "plain")]
    assert weights[0] == weights[1]
    assert "views" not in plain.choices
    with pytest.raises(ModelError, match="dvc repro train@best"):
        TrainedAligner("best", EvaluatedAligner(fit=fit_of(HEAD)), 2, torch.device("cpu"))
    with pytest.raises(ModelError, match="dvc repro train_auto@best"):
        TrainedAligner("best", EvaluatedAligner(fit=auto(compare="another")), 2, torch.device("cpu"))


@pytest.mark.usefixtures("compared")
def test_a_given_side_takes_the_best_pair_that_has_it() -> None:
    fit, chosen = with_chosen_views("best", auto(image="other"))
    assert (fit.image, fit.text) == ("other", "minilm")
    assert chosen is not None
    assert (chosen["rank"], chosen["of"]) == (2, 2)
    assert with_chosen_views("plain", fit_of(HEAD)) == (fit_of(HEAD), None)


@pytest.mark.usefixtures("compared")
def test_the_comparison_is_reproducible_and_ranks_without_figures() -> None:
    path = COMPARE / "mine" / "choice.json"
    before = path.read_bytes(), (COMPARE / "mine" / "similarity.json").read_bytes()
    table = compare()
    assert (path.read_bytes(), (COMPARE / "mine" / "similarity.json").read_bytes()) == before
    assert "First of 2 pairs by mean reciprocal rank of the CCA probe" in table
    assert json.loads(before[0]) == {
        "by": "probe",
        "order": [{"image": "vit", "text": "minilm"}, {"image": "other", "text": "minilm"}],
        "fingerprints": {f"{view}": f"digest-{view}" for view in ("control", "minilm", "other", "vit")},
    }


def _missing(path: Path) -> None:
    path.unlink()


def _damaged(path: Path) -> None:
    path.write_text("[]")


def _empty(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"order": []}))


def _other_features(path: Path) -> None:
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"fingerprints": found["fingerprints"] | {"vit": "of another encoder"}}))


@pytest.mark.usefixtures("compared")
@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_missing, DataError, "'best' takes its views from .*choice.json, which is missing.*dvc repro compare@mine"),
        (_damaged, DataError, "is not the choice of a comparison.*dvc repro compare@mine"),
        (_empty, DataError, "ranks no pair for it: .*Lower splits.repeats"),
        (_other_features, FingerprintMismatch, "chose view 'vit' by features of another e; its store of 'emoji' holds"),
    ],
)
def test_a_choice_that_does_not_hold_is_refused(
    spoil: Callable[[Path], None], error: type[Exception], message: str
) -> None:
    spoil(COMPARE / "mine" / "choice.json")
    with pytest.raises(error, match=message):
        fit_aligner(settings(auto()))
    assert not (MODELS / "best" / "config.json").exists()


@pytest.mark.usefixtures("compared")
def test_a_candidate_without_variation_is_named() -> None:
    for dataset in ("emoji", "stamps"):
        ids = FeatureStore.open(store_folder("pairs", "vit", dataset)).ids.tolist()
        cls = np.full((len(ids), 1, 8), 0.3, dtype=np.float16)
        rmtree(store_folder("pairs", "vit", dataset))
        write_store(store_folder("pairs", "vit", dataset), ids, {"cls": cls}, "digest-vit")
    with pytest.raises(DataError, match=r"the space vit\[-1\].cls has the same features for all"):
        compare()


@pytest.mark.usefixtures("compared")
def test_samples_that_no_repeat_tests_are_in_no_test_split() -> None:
    params = CompareSpec(datasets=("emoji",), images=("vit", "control"), texts=("minilm",), control="control")
    kept = read_candidates(params, 2).samples
    rows = kept.never_tested()
    assert len(rows) > 20
    assert (kept.splits[rows] != "test").all()
    assert len({text for row in rows for text in kept.captions[row]}) == sum(len(kept.captions[row]) for row in rows)
