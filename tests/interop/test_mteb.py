"""An aligner under MTEB: the protocol as its evaluators call it, and where it is installed, its own evaluation."""

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
from tests.inference.conftest import Project, aligner

TEXTS = ["a picture of an anchor", "a daisy", "été"]


@pytest.fixture(scope="module")
def one(project: Project) -> Aligner:
    return aligner(project)


@pytest.fixture(scope="module")
def model(one: Aligner) -> MtebModel:
    return MtebModel(one)


def pictures(project: Project, *rows: int) -> list[Image.Image]:
    return [Image.open(project.pictures[row]).convert("RGB") for row in rows]


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
