"""A dual encoder in the same table: through every stage, without training, with figures worked out from its library."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from PIL import Image

from pipeline.accounting.aligners import aligner_costs
from pipeline.accounting.parameters import counts_by_weights
from pipeline.alignment import fit_aligner
from pipeline.config import Config, IdentityHead, TrainSettings, fit_of
from pipeline.config.load import validate
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError, ModelError
from pipeline.evaluation.results import TaskResult
from pipeline.evaluation.table import render
from pipeline.inference import Aligner
from pipeline.paths import MODELS, RESULTS, WORK_VARIABLE
from pipeline.similarity.candidates import read_candidates
from stages.checkpoint import checkpoint
from stages.curate import curate
from stages.encode import encode
from stages.evaluate import evaluate
from stages.index import index
from stages.prompts import prompts
from stages.scenes import scenes
from stages.splits import splits
from stages.train import train
from tests.dag import tiny
from tests.encoders import dual_models

ROWS = 60
WORDS = ("a", "picture", "of", ".", *tiny.COLOURS, *tiny.THINGS)


def parameters(outside: Path) -> dict[str, Any]:
    """The project of toy size, with CLIP beside its control; float32, so that figures agree."""
    params = tiny.tiny_params(outside, ROWS)
    params.pop("hydra")
    for side in ("image", "text"):
        params["encoders"][f"clip-{side}"] = {
            "modality": side,
            "source": "local",
            "model": str(outside / "clip"),
            "loader": "transformers",
            "pooling": "model",
        }
    params["views"] |= {
        "clip-image": {"encoder": "clip-image", "resolution": 32, "tier": "cls", "dtype": "float32"},
        "clip-text": {"encoder": "clip-text", "dtype": "float32"},
    }
    for group, dataset, side in (
        ("pairs", "mine", "image"),
        ("pairs", "mine", "text"),
        ("prompts", "classnames", "text"),
    ):
        store = {"dataset": dataset, "view": f"clip-{side}", "encoder": f"clip-{side}"}
        params["stores"][group][f"{dataset}-clip-{side}"] = store
    params["views"]["clip-long"] = {"encoder": "clip-text", "truncations": [4, 8, 16], "dtype": "float32"}
    for view, side in (("clip-image", "image"), ("clip-long", "text")):
        store = {"dataset": "composed", "view": view, "encoder": f"clip-{side}"}
        params["stores"]["scenes"][f"composed-{view}"] = store
    params["aligners"] = {
        "clip": {
            "views": ["clip-image", "clip-text"],
            "data": "none",
            "head": {"kind": "identity"},
            "evaluation": {"long_text": "clip-long"},
        },
        "control": {"views": ["blind", "words"], "data": "all", "head": {"kind": "freeze-align"}},
    }
    params["curations"] = {"all": params["curations"]["all"]}
    params["splits"]["repeats"] = 2
    params["evaluate"] |= {"control": "control", "showcase": "clip", "versus": {}}
    return params


def run(stage: Callable[[Any], None], config: Config, item: str = "") -> None:
    """A stage with its settings."""
    stage(config.settings(stage.__name__, item))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder in which all but `evaluate` has been run, and the folder with the model."""
    root, outside = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("outside")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv(WORK_VARIABLE, str(root / "work"))
        patch.setattr(dual_models, "WORDS", WORDS)
        patch.setitem(dual_models.LANGUAGE, "vocab_size", len(dual_models.SPECIAL) + len(WORDS))
        dual_models.transformers_folder(outside / "clip", "clip")
        tiny.write_image_checkpoint(outside / "eye-b", 1)
        tiny.write_image_checkpoint(outside / "eye-a", 0)
        tiny.write_text_checkpoint(outside / "words-a", 3)
        tiny.write_pictures(outside / "pictures")
        config = Config(validate(parameters(outside)))
        for name in ("eye", "blind", "words", "clip-image", "clip-text"):
            run(checkpoint, config, name)
        run(index, config, "mine")
        run(splits, config)
        run(scenes, config, "composed")
        run(prompts, config)
        for store in config.params.stores.by_name():
            if not store.startswith(("scenes", "training")):  # those of the encoders of the toy project
                run(encode, config, store)
        run(curate, config, "all")
        for aligner in ("clip", "control"):
            run(train, config, aligner)
    return root, outside


@pytest.fixture
def config(project: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(project[0])
    return Config(validate(parameters(project[1])))


def library_vectors(
    folder: Path, images: list[Image.Image], texts: list[str], tokens: int = dual_models.LENGTH
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors as transformers gives them."""
    model = hf.CLIPModel.from_pretrained(folder).eval()
    processor, tokenizer = hf.AutoImageProcessor.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        pictures = model.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
        batch = tokenizer(texts, padding=True, truncation=True, max_length=tokens, return_tensors="pt")
        captions = model.get_text_features(**batch).pooler_output
    return tuple(torch.nn.functional.normalize(side, dim=-1).numpy() for side in (pictures, captions))  # type: ignore[return-value]


def test_nothing_is_trained_and_the_record_says_so(config: Config) -> None:
    assert sorted(path.name for path in (MODELS / "clip").iterdir()) == ["config.json", "metrics.json"]
    head = json.loads((MODELS / "clip/config.json").read_text())
    assert (head["head"]["kind"], head["parameters"], head["embed_dim"]) == ("identity", 0, dual_models.SHARED)
    (costs, control), left_out = aligner_costs(
        MODELS, ("clip", "control"), counts_by_weights(Path("data/checkpoints").iterdir())
    )
    assert left_out == []
    assert (costs["aligner"], costs["trainable"], costs["samples_seen"]) == ("clip", 0, 0)
    assert costs["total"] == costs["image_encoder"]["parameters"], "both towers are in one checkpoint"
    assert control["total"] > control["trainable"] > 0
    assert config.section("aligners.clip").head.kind == "identity"


def test_retrieval_is_what_the_library_gives_by_hand(config: Config, project: tuple[Path, Path]) -> None:
    run(evaluate, config, "retrieval")
    result = TaskResult.read(RESULTS / "retrieval.json")
    table = render(result)
    assert table.splitlines()[0].split()[-3:] == ["chance", "control", "clip"]

    samples = read_table(Path("data/splits/samples.parquet")).to_pylist()
    pairs = read_table(Path("data/splits/pairs.parquet")).to_pylist()
    texts = read_table(Path("data/index/pairs/mine/texts.parquet")).to_pylist()
    string_of = {row["text_id"]: row["text"] for row in texts}
    caption_of = {row["image_id"]: string_of[row["text_id"]] for row in pairs}
    pictures = ImageTable(Path("data/index/pairs/mine"))
    hits: dict[str, list[bool]] = {}
    ranks: dict[str, list[int]] = {"i2t": [], "t2i": []}
    for repeat in range(2):
        ids = [row["image_id"] for row in samples if row[f"split_{repeat}"] == "test"]
        assert len({caption_of[name] for name in ids}) == len(ids) > 10
        images = [pictures.load(pictures.ids.index(name)) for name in ids]
        image_vectors, text_vectors = library_vectors(project[1] / "clip", images, [caption_of[name] for name in ids])
        cosines = image_vectors @ text_vectors.T
        for way, scores in (("i2t", cosines), ("t2i", cosines.T)):
            place = 1 + (scores > scores.diagonal()[:, None]).sum(axis=1)
            ranks[way] += place.tolist()
            for k in (1, 5):
                hits.setdefault(f"{way}_recall@{k}", []).extend((place <= k).tolist())
    found = {row.metric: row.value for row in result.rows if row.aligner == "clip"}
    for metric, outcomes in hits.items():
        assert found[metric] == pytest.approx(np.mean(outcomes)), metric
    for way, places in ranks.items():
        assert found[f"{way}_median_rank"] == pytest.approx(np.median(places))
    assert len(set(found.values())) > 3


def test_long_texts_are_cut_by_its_own_tokenizer(config: Config, project: tuple[Path, Path]) -> None:
    run(evaluate, config, "long_text")
    result = TaskResult.read(RESULTS / "long_text.json")
    assert {row.aligner for row in result.rows} == {"clip"}
    assert [line for line in result.left_out if "control" in line]
    folder = Path("data/index/scenes/composed")
    drawn, texts = ImageTable(folder), read_table(folder / "texts.parquet").to_pylist()
    pairs = {row["image_id"]: row["text_id"] for row in read_table(folder / "pairs.parquet").to_pylist()}
    strings = {row["text_id"]: row["text"] for row in texts}
    images = [drawn.load(row) for row in range(len(drawn))]
    captions = [strings[pairs[name]] for name in drawn.ids]
    for tokens in (4, 16):
        image_vectors, text_vectors = library_vectors(project[1] / "clip", images, captions, tokens)
        cosines = text_vectors @ image_vectors.T
        places = (cosines > cosines.diagonal()[:, None] - 1e-6).sum(axis=1)  # a tie is a miss, but for itself
        found = [r.value for r in result.rows if (r.metric, r.tokens) == ("t2i_recall@1", tokens)]
        assert found == [pytest.approx(np.mean(places <= 1))]


def test_segmentation_leaves_it_out_and_says_so(config: Config) -> None:
    run(evaluate, config, "segmentation")
    result = TaskResult.read(RESULTS / "segmentation.json")
    assert result.rows == ()
    assert "clip: no dense view (aligners.clip.evaluation.dense)" in result.left_out


@pytest.mark.parametrize("task", ["classification", "multilingual"])
def test_other_tasks_take_it_like_any_aligner(config: Config, task: str) -> None:
    run(evaluate, config, task)
    result = TaskResult.read(RESULTS / f"{task}.json")
    assert {row.aligner for row in result.rows} == {"clip", "control"}
    assert {(d.aligner, d.versus) for d in result.differences} == {("clip", "control")}


def test_its_views_are_candidates_of_compare(config: Config) -> None:
    params = config.section("compare.mine").model_copy(
        update={"images": ("clip-image", "blind"), "texts": ("clip-text",)}
    )
    spaces = read_candidates(params, 2).images
    assert [space.name for space in spaces if space.view == "clip-image"] == ["clip-image[-1].cls"]
    assert {space.pooling for space in spaces if space.view == "blind"} == {"cls", "mean"}


def test_the_public_class_gives_the_librarys_vectors_and_scale(config: Config, project: tuple[Path, Path]) -> None:
    assert config is not None
    aligner = Aligner.from_pretrained(MODELS / "clip", device="cpu")
    pictures = ImageTable(Path("data/index/pairs/mine"))
    images, texts = [pictures.load(row) for row in range(3)], ["a red anchor", "a picture of a blue guitar ."]
    image_vectors, text_vectors = library_vectors(project[1] / "clip", images, texts)
    np.testing.assert_allclose(aligner.encode_image(images), image_vectors, atol=1e-5)
    np.testing.assert_allclose(aligner.encode_text(texts), text_vectors, atol=1e-5)
    names = ["red anchor", "blue guitar"]
    labels = aligner.classify(images[0], names, ("{}",))
    classes = library_vectors(project[1] / "clip", images[:1], names)[1]
    odds = np.exp((image_vectors[:1] @ classes.T)[0].astype(np.float64) / 0.07)  # the scale CLIP starts from
    expected = dict(zip(names, odds / odds.sum(), strict=True))
    assert {label.name: label.probability for label in labels} == pytest.approx(expected, rel=1e-3)
    hits = aligner.search("data/features/pairs/clip-image/mine", texts[0], k=2)
    assert len(hits) == 2


def test_a_trained_head_has_no_local_tokens_to_take(config: Config, project: tuple[Path, Path]) -> None:
    assert config is not None
    params = parameters(project[1])
    params["aligners"]["clip"] = params["aligners"]["control"] | {"views": ["clip-image", "words"]}
    params["aligners"]["clip"]["head"] = {"kind": "freeze-align", "local_tokens": "mean"}
    with pytest.raises(DataError, match="holds one vector per sample .*`pooling: cls` keeps them"):
        run(train, Config(validate(params)), "clip")


def test_another_head_needs_another_run(config: Config, project: tuple[Path, Path]) -> None:
    assert config is not None
    params = parameters(project[1])
    data = params["aligners"]["control"]["data"]
    params["aligners"]["clip"] |= {"data": data, "head": {"kind": "freeze-align", "local_tokens": "mean"}}
    with pytest.raises(ModelError, match=r"fitted with .*identity.*Fit it again with: dvc repro train@clip"):
        run(evaluate, Config(validate(params)), "retrieval")


@pytest.mark.parametrize(
    ("text", "two_models", "message"),
    [("words", False, "are of two models"), ("words", True, r"features of width 12.*of width 16")],
)
def test_views_that_do_not_share_a_space_are_refused(config: Config, text: str, two_models: bool, message: str) -> None:
    fit = fit_of(config.params, config.section("aligners.clip"))
    fit = fit.model_copy(update={"text": text, "head": IdentityHead(kind="identity", two_models=two_models)})
    with pytest.raises(DataError, match=message):
        fit_aligner(TrainSettings(name="other", fit=fit, train=None, loading=None, repeats=2, seed=0))
    assert not (MODELS / "other/config.json").exists()
