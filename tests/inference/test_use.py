"""Classification, search and segmentation against their definitions."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.alignment import ProjectionHeads
from pipeline.alignment.dense import DenseHead
from pipeline.datasets.decode import ImageTable
from pipeline.encoders.image import ImageEncoder
from pipeline.errors import DataError, FingerprintMismatch, StoreError
from pipeline.features import ArraySpec, Fingerprint
from pipeline.features.publish import publish
from pipeline.inference import Hit
from pipeline.inference.search import best_rows, embedded_rows
from pipeline.inference.segment import argmax_map, centred, crop_margin, segment_image
from tests.inference.conftest import WORDS, Project, aligner


class Refuse:
    """Stands for a loader that must not be called."""

    def __call__(self, *_: object) -> None:
        raise AssertionError("an encoder was loaded that is not needed")


def test_probabilities_are_the_softmax_of_scaled_cosines(project: Project) -> None:
    model = aligner(project)
    names, templates = ["anchor", "guitar", "hammer"], ("a picture of a {}.", "{}")
    weights = []
    for texts in (["a picture of an anchor.", "anchor"], ["a picture of a guitar.", "guitar"]):
        weights.append(model.encode_text(texts).mean(axis=0))
    weights.append(model.encode_text(["a picture of a hammer.", "hammer"]).mean(axis=0))
    classes = np.stack([vector / np.linalg.norm(vector) for vector in weights])
    scale = ProjectionHeads.from_folder(project.model("grid")).logit_scale
    assert scale == pytest.approx(1 / 0.07, rel=1e-5)
    logits = torch.from_numpy(model.encode_image(project.pictures) @ classes.T).double() * scale
    expected = torch.softmax(logits, dim=1).numpy()
    found = model.classify(project.pictures, names, templates)
    for labels, row in zip(found, expected, strict=True):
        assert [label.name for label in labels] == [names[i] for i in np.argsort(-row)]
        assert [label.probability for label in labels] == pytest.approx(sorted(row, reverse=True), rel=1e-3)
        assert sum(label.probability for label in labels) == pytest.approx(1)


def test_one_picture_gives_one_list_and_top_cuts_it(project: Project) -> None:
    model = aligner(project)
    labels = model.classify(project.pictures[0], ["anchor", "guitar", "hammer"], top=2)
    assert len(labels) == 2
    assert labels[0].probability >= labels[1].probability
    assert labels == model.classify([project.pictures[0]], ["anchor", "guitar", "hammer"])[0][:2]


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ([], {}, "at least one class name"),
        ("cat", {}, "Expected a list of class names, found the string 'cat'"),
        (["cat", "dog", "cat"], {}, "these come more often: cat"),
        (["cat"], {"templates": ["a picture"]}, "needs exactly one"),
        (["cat"], {"templates": "a {}"}, "Expected a list of templates"),
        (["cat"], {"templates": []}, "Expected a list of templates"),
        (["cat"], {"top": 0}, "top must be at least 1"),
    ],
)
def test_classes_that_make_no_classifier(
    project: Project, names: list[str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        aligner(project).classify(project.pictures[0], names, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("kind", ["grid", "patch", "mean"])
def test_search_for_a_text_ranks_pictures_and_loads_no_image_encoder(
    project: Project, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = aligner(project, kind)
    table = ImageTable(project.root / "data/index/pairs/mine")
    scores = model.encode_image([table.load(row) for row in range(len(table))]) @ model.encode_text("a guitar")[0]
    monkeypatch.setattr("pipeline.inference.encoders.load_image_encoder", Refuse())
    fresh = aligner(project, kind)
    hits = fresh.search(str(project.store(kind).folder), "a guitar", k=4)
    best = np.argsort(-scores)[:4]
    assert [hit.id for hit in hits] == [table.ids[row] for row in best]
    assert [hit.score for hit in hits] == pytest.approx(scores[best].tolist(), abs=2e-3)
    assert len(fresh.search(project.store(kind), "a guitar", k=99)) == len(WORDS)


def test_search_for_a_picture_finds_itself_and_captions_rank_by_cosine(project: Project) -> None:
    model = aligner(project)
    table = ImageTable(project.root / "data/index/pairs/mine")
    (hit,) = model.search(project.store("grid"), table.load(6), k=1)
    assert hit.id == table.ids[6]
    assert hit.score == pytest.approx(1, abs=1e-3)
    captions = model.search(project.store("words"), project.pictures[2], k=3)
    store = project.store("words")
    vectors = ProjectionHeads.from_folder(project.model("grid")).embed_text(store.read("pooled", store.ids))
    expected = np.sort(vectors @ model.encode_image(project.pictures[2])[0])[::-1][:3]
    assert [hit.score for hit in captions] == pytest.approx(expected.tolist(), abs=1e-5)


def test_queries_add_up(project: Project) -> None:
    model = aligner(project)
    store = project.store("grid")
    table = ImageTable(project.root / "data/index/pairs/mine")
    vectors = model.encode_image([table.load(row) for row in range(len(table))])
    parts = model.encode(["a guitar", project.pictures[1], "red"])
    query = parts[0] + parts[1] - parts[2]
    expected = vectors @ (query / np.linalg.norm(query))
    picture = Image.open(project.pictures[1])
    hits = model.search(store, "a guitar", k=99, add=[picture], subtract=["red"])
    assert [hit.score for hit in hits] == pytest.approx(np.sort(expected)[::-1].tolist(), abs=2e-3)
    plain = model.search(store, "a guitar", k=99)
    assert max(abs(a.score - b.score) for a, b in zip(hits, plain, strict=True)) > 0.01
    with pytest.raises(DataError, match="leaves nothing of the query"):
        model.search(store, "a guitar", subtract=["a guitar"])
    with pytest.raises(DataError, match="Expected one query.*found int"):
        model.search(store, "a guitar", add=[3])  # type: ignore[list-item]


def test_search_among_some_rows(project: Project) -> None:
    model, store = aligner(project), project.store("grid")
    plain = model.search(store, "a guitar", k=99)
    wanted = [plain[7].id, plain[2].id, plain[9].id]
    found = model.search(store, "a guitar", k=2, among=iter(wanted))
    assert [hit.id for hit in found] == [plain[2].id, plain[7].id]
    assert [hit.score for hit in found] == pytest.approx([plain[2].score, plain[7].score], abs=1e-6)
    assert model.search(store, "a guitar", among=[]) == []
    assert model.search(store, "a guitar", k=99) == plain
    with pytest.raises(DataError, match="1 ids of among are not in the store, the first: 'x'"):
        model.search(store, "a guitar", among=[plain[0].id, "x"])
    with pytest.raises(DataError, match="must be a list of ids, found .* .str."):
        model.search(store, "a guitar", among=plain[0].id)


class Rows:
    """What `best_rows` asks of a store."""

    def __init__(self, count: int, bad: tuple[int, ...]) -> None:
        self.ids = np.array([f"r{i:03d}" for i in range(count)])
        self.valid = ~np.isin(np.arange(count), bad)

    def __len__(self) -> int:
        return len(self.ids)


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
def test_search_in_blocks_equals_a_full_sort_without_invalid_rows(block: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(100, 5)).astype(np.float32).round(1)
    vectors[40:60] = vectors[0]  # ties keep the order of the store
    store, query = Rows(100, bad=(0, 3, 41, 99)), rng.normal(size=5).astype(np.float32)
    sizes = []

    def embed(ids: np.ndarray) -> np.ndarray:
        sizes.append(len(ids))
        return vectors[[int(identifier[1:]) for identifier in ids]]

    found = best_rows(store.ids, embedded_rows(store, embed, block), query, 30)  # type: ignore[arg-type]
    scores = [np.float32(vectors[row] @ query) for row in range(100)]
    order = sorted((row for row in range(100) if store.valid[row]), key=lambda row: (-scores[row].round(4), row))
    assert [hit.id for hit in found] == [f"r{row:03d}" for row in order[:30]]
    assert max(sizes) <= block
    assert best_rows(Rows(0, ()).ids, embedded_rows(Rows(0, ()), embed), query, 3) == []  # type: ignore[arg-type]
    assert isinstance(found[0], Hit)


def test_stores_that_do_not_fit_are_refused(project: Project) -> None:
    model = aligner(project)
    with pytest.raises(
        FingerprintMismatch, match=r"its view 'grid' it differs in:(?s:.*)resolution: found 224, expected 42"
    ):
        model.search(project.store("mean"), "a guitar")
    with pytest.raises(StoreError, match="No feature store at"):
        model.search(project.root / "nowhere", "a guitar")
    with pytest.raises(DataError, match="k must be at least 1"):
        model.search(project.store("grid"), "a guitar", k=0)


def test_texts_load_no_image_encoder(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.inference.encoders.load_image_encoder", Refuse())
    assert aligner(project).encode_text("a guitar").shape == (1, 12)
    with pytest.raises(AssertionError):
        aligner(project).encode_image(project.pictures[0])


def test_the_map_has_the_size_of_the_picture_and_follows_the_patches(project: Project) -> None:
    model = aligner(project)
    picture = Image.new("RGB", (90, 60), "white")
    picture.paste((10, 20, 30), (0, 0, 45, 60))
    names = list(WORDS)
    found = model.segment(picture, names, resolution=56)
    assert found.shape == (60, 90)
    assert found.dtype == np.int64
    assert set(np.unique(found)) <= set(range(len(names)))
    assert (model.segment(picture, names[:1]) == 0).all()
    with pytest.raises(DataError, match="at least one class name"):
        model.segment(picture, [])


def test_segmentation_by_its_definition(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patch tokens of the padded square, unit vectors, cosines, bilinear interpolation, argmax: each step by hand."""
    model = aligner(project)
    seen = []
    forward = ImageEncoder.forward

    def spy(self: ImageEncoder, pixels: torch.Tensor) -> object:
        seen.append((pixels, forward(self, pixels)))
        return seen[-1][1]

    monkeypatch.setattr(ImageEncoder, "forward", spy)
    picture = Image.open(project.pictures[9]).convert("RGBA")
    found = model.segment(picture, list(WORDS), resolution=84)
    ((pixels, features),) = seen
    assert pixels.shape == (1, 3, 84, 84)
    patch = features.patch[:, -1].half().float().numpy()
    vectors = ProjectionHeads.from_folder(project.model("grid")).embed_patches(patch)[0]
    classes = np.stack([model.encode_text(f"a picture of a{'n' * (w[0] in 'aei')} {w}.")[0] for w in WORDS])
    logits = torch.from_numpy((vectors @ classes.T).T.reshape(1, len(WORDS), 6, 6).copy())
    side = max(picture.size)
    wide = torch.nn.functional.interpolate(logits, (side, side), mode="bilinear", align_corners=False)[0]
    top = (side - picture.height) // 2
    expected = wide.argmax(dim=0).numpy()[top : top + picture.height, : picture.width]
    assert (found == expected).mean() > 0.995  # rounding where two classes are equal
    assert len(np.unique(expected)) > 1


def test_segmentation_by_a_dense_head(project: Project, tmp_path: Path) -> None:
    """The same map from other vectors: those of the dense head, for patches and for texts."""
    model, generator = aligner(project), np.random.default_rng(0)
    prints = model.config.fingerprints
    head = DenseHead.fit(generator.normal(size=(40, 16)), generator.normal(size=(40, 16)), 0.3, prints)
    head.save(tmp_path / "own", 0)
    picture = Image.open(project.pictures[9]).convert("RGB")
    found = model.segment(picture, list(WORDS), resolution=84, dense_head=tmp_path / "own")
    seen: list[np.ndarray] = []
    segment_image(
        model._encoders, lambda patch: seen.append(patch) or head.embed_patches(patch), picture, np.ones((1, 16)), 84
    )
    prompts = [f"a picture of a{'n' * (w[0] in 'aei')} {w}." for w in WORDS]
    pooled = model._encoders.text_features(prompts, 64).tokens[:, 0].float().numpy()
    unit = pooled / np.linalg.norm(pooled, axis=1, keepdims=True) - head.text_mean
    raw = (seen[0][0].astype(np.float32) - head.image_mean) @ head.weight
    cosines = (raw / np.linalg.norm(raw, axis=1, keepdims=True)) @ (
        unit / np.linalg.norm(unit, axis=1, keepdims=True)
    ).T
    side = max(picture.size)
    box = ((side - picture.height) // 2, 0, picture.height, picture.width)
    expected = argmax_map(cosines.T.reshape(len(WORDS), 6, 6), side, box)
    assert (found == expected).mean() > 0.995
    assert (found != model.segment(picture, list(WORDS), resolution=84)).any()
    other = {side: {**p, "compared": p["compared"] | {"weights": "x"}} for side, p in prints.items()}
    DenseHead.fit(np.eye(16), np.eye(16), 0.3, other).save(tmp_path / "other", 0)
    with pytest.raises(FingerprintMismatch, match="weights"):
        model.segment(picture, list(WORDS), dense_head=tmp_path / "other")


def test_class_names_of_a_dense_head_are_encoded_once(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, generator = aligner(project), np.random.default_rng(0)
    prints = model.config.fingerprints
    picture = Image.open(project.pictures[9]).convert("RGB")
    encoded: list[int] = []
    real = model._encoders.text_features
    monkeypatch.setattr(
        model._encoders, "text_features", lambda texts, *rest: encoded.append(len(texts)) or real(texts, *rest)
    )

    def segmented(name: str) -> np.ndarray:
        return model.segment(picture, list(WORDS), resolution=84, dense_head=tmp_path / name)

    for name in ("own", "other"):
        head = DenseHead.fit(generator.normal(size=(40, 16)), generator.normal(size=(40, 16)), 0.3, prints)
        head.save(tmp_path / name, 0)
    first, other = segmented("own"), segmented("other")
    assert len(encoded) == 2
    np.testing.assert_array_equal(segmented("own"), first)
    np.testing.assert_array_equal(segmented("other"), other)
    assert len(encoded) == 2
    assert (first != other).any()
    shutil.rmtree(tmp_path / "own")
    shutil.copytree(tmp_path / "other", tmp_path / "own")  # fitted again: its class vectors are others
    np.testing.assert_array_equal(segmented("own"), other)
    assert len(encoded) == 3


def test_the_margin_takes_up_what_the_crop_removes() -> None:
    assert crop_margin({"resize": {"shortest_edge": 256}, "crop": {"height": 224, "width": 224}}) == 256 / 224
    assert crop_margin({"resize": {"height": 224, "width": 224}, "crop": None}) == 1
    assert crop_margin({"crop_pct": 0.875}) == 1 / 0.875
    with pytest.raises(DataError, match="resizes a picture and crops its centre"):
        crop_margin({"resize": None, "crop": {"height": 224, "width": 224}})
    square = centred(Image.new("RGB", (10, 4), "black"), 20)
    assert square.getbbox() == (0, 0, 20, 20)
    dark = np.asarray(square).sum(axis=2) == 0
    assert dark.sum() == 40
    assert dark[8:12, 5:15].all()


def test_argmax_map_takes_the_first_of_equals() -> None:
    scores = np.zeros((3, 2, 2), dtype=np.float32)
    scores[2, 0, 0] = 1
    found = argmax_map(scores, 8, (2, 0, 4, 8))
    assert found.shape == (4, 8)
    assert found[0, 0] == 2
    assert found[-1, -1] == 0


def test_an_empty_store_gives_no_hit(project: Project, tmp_path: Path) -> None:
    recorded = project.store("words").fingerprint
    fingerprint = Fingerprint(recorded["compared"], recorded["described"])
    publish(tmp_path / "empty", fingerprint, [ArraySpec("pooled", (16,), "float16")], [], 8, {})
    assert aligner(project).search(tmp_path / "empty", "a guitar") == []
