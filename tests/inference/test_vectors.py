"""What users get from pictures and texts is what the heads give on stored features of them."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from pipeline import Aligner
from pipeline.alignment import ProjectionHeads
from pipeline.alignment.data.views import read_images
from pipeline.alignment.saved import HeadConfig
from pipeline.alignment.vectors import embed_stored_texts
from pipeline.config import EncoderSpec, TextView
from pipeline.datasets.decode import ImageTable
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import text_rows
from pipeline.encoding.plan import text_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import DataError
from pipeline.features import FeatureStore
from tests.inference.conftest import PARAMS, WORDS, Project, aligner

KINDS = ("grid", "patch", "mean")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch_size", [3, 32])
def test_pictures_give_the_vectors_of_their_stored_features(project: Project, kind: str, batch_size: int) -> None:
    table = ImageTable(project.root / "data/index/pairs/mine")
    store = project.store(kind)
    heads = ProjectionHeads.from_folder(project.model(kind), 0)
    stored = read_images(store, np.array(table.ids), kind)
    expected = heads.embed_image(stored.cls.numpy(), stored.local.numpy())
    found = aligner(project, kind).encode_image([table.load(row) for row in range(len(table))], batch_size=batch_size)
    assert found.dtype == np.float32
    assert found.shape == (len(WORDS), 12)
    np.testing.assert_allclose(found, expected, atol=2e-3 if kind != "patch" else 1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    gaps = np.linalg.norm(expected[:, None] - expected[None], axis=2)[~np.eye(len(WORDS), dtype=bool)]
    assert np.abs(found - expected).max() < gaps.min() / 4, "pictures must be told apart for this test to mean much"


@pytest.mark.parametrize("batch_size", [3, 64])
def test_texts_give_the_vectors_of_their_stored_features(project: Project, batch_size: int) -> None:
    import pyarrow.parquet as pq

    texts = pq.read_table(project.root / "data/index/pairs/mine/texts.parquet").to_pylist()
    store = project.store("words")
    heads = ProjectionHeads.from_folder(project.model("grid"), 0)
    expected = heads.embed_text(store.read("pooled", [row["text_id"] for row in texts]))
    found = aligner(project).encode_text([row["text"] for row in texts], batch_size=batch_size)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.ptp(expected, axis=0).max() > 0.05


def test_one_picture_many_pictures_paths_and_transparency_agree(project: Project) -> None:
    model = aligner(project)
    path = project.pictures[3]
    with Image.open(path) as image:
        image.load()
    one = model.encode_image(image)
    assert one.shape == (1, 12)
    np.testing.assert_array_equal(one, model.encode_image(path))
    np.testing.assert_array_equal(one, model.encode_image([str(path)]))
    white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.testing.assert_array_equal(one, model.encode_image(white))
    many = model.encode_image(project.pictures)
    np.testing.assert_allclose(many[3], one[0], atol=2e-3)
    assert model.encode_text("a red guitar").shape == (1, 12)


def test_repeats_are_different_heads(project: Project) -> None:
    first, second = (Aligner.from_pretrained(project.model("grid"), repeat=i, device="cpu") for i in (0, 1))
    assert np.abs(first.encode_text("guitar") - second.encode_text("guitar")).max() > 0.01
    assert "repeat=1" in repr(second)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "at least one image, found an empty list"),
        ([b"bytes"], "Image 0 cannot be encoded: not an image of a known format"),
        ([3], "Image 0: expected a PIL image, a path, the bytes of a file, or an array .*, found int"),
        (np.zeros(3), "Expected one image or a list of them, found ndarray"),
        (7, "found int"),
        ("nowhere.png", "nowhere.png cannot be read: No such file"),
        ([__file__], "Image 0 cannot be encoded: .*test_vectors.py: not an image of a known format"),
    ],
)
def test_what_is_no_picture_is_refused(project: Project, images: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        aligner(project).encode_image(images)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("texts", "message"),
    [([], "at least one text, found an empty list"), (["a", 3], "Text 1: expected a string, found int")],
)
def test_what_is_no_text_is_refused(project: Project, texts: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        aligner(project).encode_text(texts)


def test_the_file_that_cannot_be_decoded_is_named_by_its_place_in_the_list(project: Project) -> None:
    with pytest.raises(DataError, match="Image 4 cannot be encoded"):
        aligner(project).encode_image([*project.pictures[:4], __file__], batch_size=2)


def test_a_batch_holds_at_least_one(project: Project) -> None:
    with pytest.raises(DataError, match="batch_size must be at least 1"):
        aligner(project).encode_image(project.pictures, batch_size=0)


def test_texts_as_tokens_equal_those_of_a_store(copied: Project) -> None:
    view, checkpoint = TextView(encoder="words", tier="full", dtype="int8"), copied.root / "data/checkpoints/words"
    words = EncoderSpec(
        modality="text", source="local", model=str(checkpoint), loader="transformers", pooling="mean", prefix="a "
    )
    plan, strings = text_plan(copied.root / "data/index/pairs/mine", (), 8)
    fingerprint = fingerprint_of(read_manifest(checkpoint), words, view)
    rows = text_rows(checkpoint, words, view, strings, PARAMS)
    out = copied.root / "data/features/pairs/words/mine"
    StoreEncoder("words", fingerprint, lambda: rows, 0.5).run(plan, out)
    config = HeadConfig.read(copied.model("grid"))
    prints = {**config.fingerprints, "text": FeatureStore.open(out).fingerprint}
    head = {**config.head, "text_tokens": "full"}
    replace(config, head=head, fingerprints=prints).write(copied.model("grid"))
    model, store = aligner(copied), copied.store("words")
    heads = ProjectionHeads.from_folder(copied.model("grid"))
    found = model.encode_text([strings[str(identifier)] for identifier in store.ids])
    expected = embed_stored_texts(heads, store, store.ids)
    np.testing.assert_allclose(found, expected, atol=4e-3)
    pooled = aligner(copied, "mean").encode_text([strings[str(identifier)] for identifier in store.ids])
    assert np.abs(pooled - found).max() > 0.1
