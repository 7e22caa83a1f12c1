"""An aligner under MTEB: the protocol as its evaluators call it, and where it is installed, its own evaluation."""

import importlib.util
import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline import Aligner
from pipeline.errors import ConfigError, DataError
from pipeline.interop.mteb_model import MtebModel
from tests.inference.conftest import WORDS, Project, aligner, copied

__all__ = ["copied"]
MTEB = pytest.mark.skipif(
    importlib.util.find_spec("mteb") is None, reason="mteb is not installed: pip install 'mteb[image]'"
)
TEXTS = ["a picture of an anchor", "a daisy", "été"]


@pytest.fixture(scope="module")
def one(project: Project) -> Aligner:
    return aligner(project)


@pytest.fixture(scope="module")
def model(one: Aligner) -> MtebModel:
    return MtebModel(one)


def pictures(project: Project, *rows: int) -> list[Image.Image]:
    return [Image.open(project.pictures[row]) for row in rows]


def encoded(model: MtebModel, batches: list[dict[str, Any]], **options: Any) -> np.ndarray:
    return model.encode(
        batches, task_metadata=SimpleNamespace(name="x"), hf_split="test", hf_subset="default", **options
    )


def test_texts_and_pictures_in_batches(project: Project, one: Aligner, model: MtebModel) -> None:
    found = encoded(model, [{"text": TEXTS[:2]}, {"text": TEXTS[2:], "title": ["x"]}], show_progress_bar=False)
    np.testing.assert_allclose(found, one.encode_text(TEXTS), atol=1e-6)
    found = encoded(model, [{"image": pictures(project, 0, 1)}, {"image": pictures(project, 2)}], batch_size=1)
    np.testing.assert_allclose(found, one.encode_image(project.pictures[:3]), atol=1e-6)
    assert encoded(model, []).shape == (0, 12)


def test_a_text_is_a_text_also_where_it_is_the_path_of_a_picture(project: Project, one: Aligner) -> None:
    path = str(project.pictures[0])
    found = encoded(MtebModel(one), [{"text": [path]}])
    np.testing.assert_allclose(found, one.encode_text([path]), atol=1e-6)


def test_text_and_picture_of_a_row_are_added_and_either_may_be_missing(
    project: Project, one: Aligner, model: MtebModel
) -> None:
    batch = {"text": [TEXTS[0], None, TEXTS[2]], "image": [pictures(project, 0)[0], pictures(project, 1)[0], None]}
    found = encoded(model, [batch])
    images, texts = one.encode_image(project.pictures[:2]), one.encode_text([TEXTS[0], TEXTS[2]])
    both = images[0] + texts[0]
    np.testing.assert_allclose(found[0], both / np.linalg.norm(both), atol=1e-6)
    np.testing.assert_allclose(found[1], images[1], atol=1e-6)
    np.testing.assert_allclose(found[2], texts[1], atol=1e-6)


def test_prompts_of_the_aligner_stand_before_queries_and_documents(project: Project) -> None:
    prompted = aligner(project, prompts={"query": "a picture of ", "passage": "a drawing of "})
    model = MtebModel(prompted)
    kinds = {"query": "a picture of ", "document": "a drawing of ", None: ""}
    for kind, prefix in kinds.items():
        for given in (kind, SimpleNamespace(value=kind)):
            found = encoded(model, [{"text": ["a daisy"]}], prompt_type=given)
            np.testing.assert_allclose(found, prompted.encode_text([prefix + "a daisy"]), atol=1e-6)


def test_what_is_neither_text_nor_picture_is_refused(model: MtebModel) -> None:
    with pytest.raises(DataError, match=r"Expected text or image in every row of a batch(?s:.*)columns: text, id"):
        encoded(model, [{"text": [None, "x"], "id": ["1", "2"]}])
    with pytest.raises(DataError, match="columns: label"):
        encoded(model, [{"label": [1]}])
    with pytest.raises(DataError, match="no vectors of audio"):
        encoded(model, [{"text": ["x"], "audio": [np.zeros(3)]}])


def test_cosines(model: MtebModel) -> None:
    first, second = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [5.0, 0.0]])
    np.testing.assert_allclose(model.similarity(first, second), [[0.8, 0.6], [0.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(first, second), [0.8, 1.0], atol=1e-6)


def test_without_mteb_the_message_says_what_to_install(one: Aligner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ConfigError, match=r"pip install 'mteb\[image\]'"):
        _ = MtebModel(one).mteb_model_meta
    code = "import sys, pipeline.interop.mteb_model; print('mteb' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False"]


def metadata(name: str, kind: str, category: str, modalities: list[str], score: str) -> Any:
    from mteb.abstasks.task_metadata import TaskMetadata

    return TaskMetadata(
        name=name,
        description="pictures and captions of the test project",
        reference=None,
        type=kind,
        category=category,
        modalities=modalities,
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=score,
        dataset={"path": "local", "revision": "1"},
        date=None,
        domains=None,
        task_subtypes=None,
        license=None,
        annotations_creators=None,
        dialect=None,
        sample_creation=None,
        bibtex_citation=None,
    )


def evaluated(model: MtebModel, task: Any) -> dict[str, float]:
    import mteb

    result = mteb.evaluate(model, task, cache=None, encode_kwargs={"batch_size": 4}, show_progress_bar=False)
    (found,) = result.task_results
    (scores,) = found.scores["test"]
    return dict(scores)


def retrieval_task(project: Project, name: str, category: str) -> Any:
    """Captions for pictures ("t2i"), pictures for captions ("i2t"), captions for captions ("t2t") or both ("it2i")."""
    from datasets import Dataset, Features, Value
    from datasets import Image as ImageFeature
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData

    query, document = category.split("2")
    modalities = ["text"] if category == "t2t" else ["text", "image"]

    def side(letters: str) -> Dataset:
        columns: dict[str, Any] = {"id": list(WORDS)}
        kinds: dict[str, Any] = {"id": Value("string")}
        if "t" in letters:
            columns["text"] = [f"a picture of a {word}" for word in WORDS]
            kinds["text"] = Value("string")
        if "i" in letters:
            by_name = {path.stem: str(path) for path in project.pictures}
            columns["image"] = [by_name[word] for word in WORDS]
            kinds["image"] = ImageFeature()
        return Dataset.from_dict(columns, features=Features(kinds))

    class Task(AbsTaskRetrieval):
        metadata = metadata(
            name, "Retrieval" if category == "t2t" else "Any2AnyRetrieval", category, modalities, "ndcg_at_10"
        )

        def load_data(self, **_: Any) -> None:
            wanted = {word: {word: 1} for word in WORDS}
            split = RetrievalSplitData(
                corpus=side(document), queries=side(query), relevant_docs=wanted, top_ranked=None
            )
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Task()


@MTEB
@pytest.mark.parametrize("category", ["t2i", "i2t", "t2t", "it2i"])
def test_mteb_retrieves_as_by_hand(category: str, project: Project, one: Aligner, model: MtebModel) -> None:
    found = evaluated(model, retrieval_task(project, f"Mine{category}", category))
    by_name = {path.stem: path for path in project.pictures}
    vectors = {
        "t": one.encode_text([f"a picture of a {word}" for word in WORDS]),
        "i": one.encode_image([by_name[word] for word in WORDS]),
    }
    vectors["it"] = vectors["i"] + vectors["t"]
    vectors["it"] /= np.linalg.norm(vectors["it"], axis=1, keepdims=True)
    query, document = category.split("2")
    cosines = vectors[query] @ vectors[document].T
    ranks = 1 + (cosines > np.diag(cosines)[:, None] + 1e-6).sum(1)
    for k in (1, 3, 5):
        assert found[f"recall_at_{k}"] == pytest.approx((ranks <= k).mean(), abs=1e-4)
    assert found["ndcg_at_10"] == pytest.approx((1 / np.log2(1 + ranks)).mean(), abs=1e-4)


@MTEB
def test_mteb_classifies_as_the_aligner(project: Project, one: Aligner, model: MtebModel) -> None:
    from datasets import Dataset, DatasetDict, Features, Value
    from datasets import Image as ImageFeature
    from mteb.abstasks import AbsTaskZeroShotClassification

    # labels under which some answers are right, whatever the random heads say
    guesses = [WORDS.index(label.name) for (label,) in one.classify(project.pictures, WORDS, ["{}"], top=1)]
    labels = [guess if row % 2 else (guess + 1 + row // 2) % len(WORDS) for row, guess in enumerate(guesses)]

    class Task(AbsTaskZeroShotClassification):
        metadata = metadata("MineZeroShot", "ZeroShotClassification", "i2t", ["text", "image"], "accuracy")

        def load_data(self, **_: Any) -> None:
            kinds = Features({"image": ImageFeature(), "label": Value("int64")})
            rows = {"image": [str(path) for path in project.pictures], "label": labels}
            self.dataset = DatasetDict({"test": Dataset.from_dict(rows, features=kinds)})
            self.data_loaded = True

        def get_candidate_labels(self) -> list[str]:
            return list(WORDS)

    assert evaluated(model, Task())["accuracy"] == pytest.approx(0.5)


@MTEB
def test_the_description_is_filled_from_the_aligner(project: Project, copied: Project) -> None:
    from mteb.models import EncoderProtocol

    (copied.root / "data/accounting").mkdir()
    costs = {"aligners": [{"aligner": "grid", "total": 1234}]}
    (copied.root / "data/accounting/costs.json").write_text(json.dumps(costs))
    about = copied.root / "data/index/pairs/mine/about.json"
    kept = json.loads(about.read_text()) if about.is_file() else {}
    about.write_text(json.dumps(kept | {"texts_per_language": {"en": 9, "zh-Hant": 1, "no language": 1}}))
    model = MtebModel(copied.model("grid"), device="cpu")
    assert isinstance(model, EncoderProtocol)
    meta = model.mteb_model_meta
    assert meta.name == "permafrost/grid"
    assert (meta.embed_dim, meta.n_parameters, meta.max_tokens) == (12, 1234, 32)
    assert meta.modalities == ["image", "text"]
    assert meta.similarity_fn_name.value == "cosine"
    assert (meta.training_datasets, meta.license, meta.use_instructions) == (None, None, False)
    assert "eng-Latn" in meta.languages
    assert set(meta.languages) <= {"eng-Latn", "zho-Hant"}  # what MTEB knows of them
    assert len(meta.revision) == 40
    again = MtebModel(aligner(project)).mteb_model_meta
    assert again.revision == meta.revision
    other = MtebModel(aligner(project, repeat=1)).mteb_model_meta
    assert other.revision != meta.revision
    assert MtebModel(aligner(project, truncate_dim=5)).mteb_model_meta.embed_dim == 5
    assert json.dumps(meta.to_dict(), default=str)
