"""An aligner of two image encoders and two text encoders as one model: every backbone once per input."""

import json
import pickle
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import Aligner
from pipeline.alignment.heads.fitted import Blocks, Scaled
from pipeline.alignment.heads.freeze_align import FreezeAlign
from pipeline.alignment.heads.whitened import Whitened
from pipeline.alignment.saved import HeadConfig, head_entry, save_heads
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
from pipeline.commands.use import _own_stores
from pipeline.config import EncoderSpec, FusedView, ImageView, Side, TextView
from pipeline.datasets.decode import ImageTable
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import ImageEncoder
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.transformers_text import TransformersText
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.load import image_rows, text_rows
from pipeline.encoding.plan import image_plan, text_plan
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import DataError, FingerprintMismatch, ModelError, PermafrostError, StoreError
from pipeline.explorer.project import Project as Explored
from pipeline.features.fused import FusedStore, fused_fingerprint
from pipeline.inference.fused_encoders import FusedEncoders
from pipeline.inference.inputs import open_image
from tests.alignment.specs import trained
from tests.dag.tiny import write_image_checkpoint, write_text_checkpoint
from tests.inference.conftest import PARAMS, WORDS, Project

MEMBERS: dict[Side, tuple[str, str]] = {"image": ("grid", "second"), "text": ("words", "others")}


@pytest.fixture
def joint(copied: Project) -> Project:
    """The project with a second encoder of each side, and aligners `joint`, `images` and `texts` that fuse."""
    root = copied.root
    index = root / "data/index/pairs/mine"
    write_image_checkpoint(root / "eye-2", seed=5)
    write_text_checkpoint(root / "words-2", seed=6)
    local: dict[str, Any] = {"source": "local", "loader": "transformers"}
    eye = EncoderSpec(modality="image", model=str(root / "eye-2"), layers=(2,), **local)
    words = EncoderSpec(modality="text", model=str(root / "words-2"), pooling="mean", **local)
    materialise(eye, root / "data/checkpoints/eye-2")
    materialise(words, root / "data/checkpoints/words-2")
    view, text_view = ImageView(encoder="eye-2", resolution=28, tier="cls"), TextView(encoder="words-2")
    rows = image_rows(root / "data/checkpoints/eye-2", eye, view, index, PARAMS)
    fingerprint = fingerprint_of(read_manifest(root / "data/checkpoints/eye-2"), eye, view)
    StoreEncoder("second", fingerprint, lambda: rows, 0.5).run(
        image_plan(index, 8), root / "data/features/pairs/second/mine"
    )
    plan, strings = text_plan(index, (), 8)
    texts = text_rows(root / "data/checkpoints/words-2", words, text_view, strings, PARAMS)
    fingerprint = fingerprint_of(read_manifest(root / "data/checkpoints/words-2"), words, text_view)
    StoreEncoder("others", fingerprint, lambda: texts, 0.5).run(plan, root / "data/features/pairs/others/mine")
    write_heads(copied, "joint", ("image", "text"))
    write_heads(copied, "images", ("image",))
    write_heads(copied, "texts", ("text",))
    return copied


def write_heads(project: Project, name: str, sides: tuple[Side, ...]) -> None:
    fingerprints, widths, blocks = {}, {}, {}
    for side, members in MEMBERS.items():
        stores = {view: project.store(view) for view in (members if side in sides else members[:1])}
        each = {view: store.fingerprint for view, store in stores.items()}
        fingerprints[side] = fused_fingerprint(each) if side in sides else each[members[0]]
        array = "mean" if side == "image" else "pooled"
        widths[side] = sum(store.shape(array)[-1] for store in stores.values())
        torch.manual_seed(3)
        blocks[side] = [
            Blocks([Scaled(torch.randn(store.shape(array)[-1]), torch.rand(())) for store in stores.values()])
            for _ in range(2)
        ]
    views: dict[str, str] = {side: "both" if side in sides else members[0] for side, members in MEMBERS.items()}
    config = HeadConfig(
        aligner=name,
        head=head_entry(trained(embed_dim=12, local_tokens="mean")),
        views=views,
        widths=widths,
        embed_dim=12,
        fingerprints=fingerprints,
        data=("mine",),
        repeats=1,
        fusions={side: FusedView(concat=MEMBERS[side]).model_dump(mode="json") for side in sides},
    )
    torch.manual_seed(0)
    inner = FreezeAlign(widths["image"], widths["text"], 12)
    image = (blocks["image"][0], blocks["image"][1]) if "image" in sides else None
    save_heads(Whitened(inner, image, blocks["text"][0] if "text" in sides else None), project.model(name), 0)
    config.write(project.model(name))


def opened(project: Project, name: str = "joint") -> Aligner:
    return Aligner.from_pretrained(project.model(name), device="cpu")


def stores(project: Project, side: Side) -> list[Any]:
    return [project.store(view) for view in MEMBERS[side]]


def fused_store(project: Project, side: Side) -> FusedStore:
    return FusedStore(Path("both/mine"), {view: project.store(view) for view in MEMBERS[side]})


def test_every_backbone_sees_an_input_once_and_the_vectors_are_those_of_the_stores(
    joint: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: Counter[str] = Counter()
    decoded: Counter[str] = Counter()
    forward = ImageEncoder.forward

    def images(self: ImageEncoder, pixels: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        passes[f"image {pixels.shape[-1]}"] += len(pixels)
        return forward(self, pixels, *args, **kwargs)

    monkeypatch.setattr(ImageEncoder, "forward", images)

    def opening(image: Any, urls: bool = False, bits: int | None = None) -> Any:
        decoded[str(image)] += 1
        return open_image(image, urls, bits)

    monkeypatch.setattr("pipeline.inference.fused_encoders.open_image", opening)
    model = opened(joint)
    model.encode_image(joint.pictures)
    assert passes == {"image 42": len(WORDS), "image 28": len(WORDS)}
    assert decoded == dict.fromkeys(map(str, joint.pictures), 1)
    table = ImageTable(joint.root / "data/index/pairs/mine")
    vectors = model.encode_image([table.load(row) for row in range(len(table))], batch_size=4)
    expected = embed_stored_images(model._heads, fused_store(joint, "image"), np.array(table.ids))
    np.testing.assert_allclose(vectors, expected, atol=2e-3)


def test_texts_go_through_every_text_encoder_once(joint: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: Counter[int] = Counter()
    encode = TransformersText.encode

    def counted(self: TransformersText, texts: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        passes[id(self)] += len(texts.inputs["input_ids"])
        return encode(self, texts, *args, **kwargs)

    monkeypatch.setattr(TransformersText, "encode", counted)
    model = opened(joint)
    store = fused_store(joint, "text")
    vectors = model.encode_text([f"a picture of a {word}" for word in WORDS], batch_size=len(WORDS))
    assert list(passes.values()) == [len(WORDS), len(WORDS)]
    expected = embed_stored_texts(model._heads, store, store.ids)
    np.testing.assert_allclose((vectors @ expected.T).max(1), np.ones(len(WORDS)), atol=1e-3)


def test_search_joins_the_stores_of_a_side(joint: Project) -> None:
    model = opened(joint)
    pictures = stores(joint, "image")
    table = ImageTable(joint.root / "data/index/pairs/mine")
    hits = model.search(pictures, table.load(6), k=3)
    assert hits[0].id == table.ids[6]
    assert hits[0].score == pytest.approx(1, abs=2e-3)
    assert model.search(pictures[::-1], table.load(6), k=3) == hits, "in any order"
    assert model.search([str(store.folder) for store in pictures], table.load(6), k=3) == hits
    (caption,) = model.search(stores(joint, "text"), "a picture of a guitar", k=1)
    assert caption.score == pytest.approx(1, abs=2e-3)
    for wrong in (pictures[0], pictures[:1], [*pictures, joint.store("words")], [pictures[0], pictures[0]]):
        with pytest.raises(FingerprintMismatch, match="its views grid \\+ second, or words \\+ others; found"):
            model.search(wrong, "a guitar")
    with pytest.raises(StoreError, match="No feature store"):
        model.search([pictures[0], joint.root / "nowhere"], "a guitar")
    alone = opened(joint, "images")
    assert len(alone.search(joint.store("words"), joint.pictures[2], k=2)) == 2, "its text side is of one view"


def test_classes_and_one_fused_side(joint: Project) -> None:
    for name in ("joint", "images", "texts"):
        labels = opened(joint, name).classify(joint.pictures[0], list(WORDS))
        assert sum(label.probability for label in labels) == pytest.approx(1, abs=1e-5)


def test_saved_and_loaded_again_it_gives_the_same_bits(joint: Project, tmp_path: Path) -> None:
    model = opened(joint)
    model.save_pretrained(tmp_path / "saved")
    again = Aligner.from_pretrained(tmp_path / "saved", device="cpu", checkpoints=joint.root / "data/checkpoints")
    np.testing.assert_array_equal(again.encode_image(joint.pictures[:3]), model.encode_image(joint.pictures[:3]))
    np.testing.assert_array_equal(again.encode_text(["a guitar"]), model.encode_text(["a guitar"]))
    card = (tmp_path / "saved/README.md").read_text()
    assert all(str(joint.root / name) in card for name in ("eye", "eye-2", "words", "words-2"))


def test_another_encoder_than_a_recorded_one_is_not_used(joint: Project) -> None:
    path = joint.model("joint") / "config.json"
    content = json.loads(path.read_text())
    member = content["fingerprints"]["image"]["members"]["second"]
    member["compared"]["weights"] = member["digest"] = "0" * 64
    digests = {view: {"digest": one["digest"]} for view, one in content["fingerprints"]["image"]["members"].items()}
    content["fingerprints"]["image"] |= {"digest": fused_fingerprint(digests)["digest"]}
    path.write_text(json.dumps(content))
    with pytest.raises(PermafrostError, match="Aligner 'joint', view 'second'"):
        opened(joint).encode_image(joint.pictures[:1])


def test_what_is_of_one_encoder_is_refused(joint: Project, tmp_path: Path) -> None:
    model = opened(joint)
    with pytest.raises(ModelError, match=r"takes images through several encoders \(grid \+ second\)"):
        model.segment(joint.pictures[0], ["cat"])
    with pytest.raises(ModelError, match="takes images through several encoders"):
        model.preprocess(joint.pictures[0])
    with pytest.raises(ModelError, match="takes images through several encoders"):
        model.encode_pixels(torch.zeros(1, 3, 28, 28))
    for export in (model.export_onnx, model.export_sentence_transformers, opened(joint, "texts").export_onnx):
        with pytest.raises(ModelError, match="an export to sentence-transformers or ONNX holds one encoder"):
            export(tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_text_tower_is_swapped_behind_fused_images(joint: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    model = opened(joint)
    expected = opened(joint, "images").encode_image(joint.pictures[:2])
    model.encode_image(joint.pictures[:1])

    def refuse(*_: Any) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr("pipeline.inference.encoders.load_image_encoder", refuse)
    swapped = model.with_text_tower(joint.model("images"))
    np.testing.assert_array_equal(swapped.encode_image(joint.pictures[:2]), expected)
    with pytest.raises(FingerprintMismatch, match="another image view"):
        model.with_text_tower(joint.model("texts"))


def test_it_moves_with_all_its_encoders(joint: Project) -> None:
    model = opened(joint)
    expected = model.encode_image(joint.pictures[:2])
    half = opened(joint).to(torch.bfloat16)
    assert half.dtype == torch.bfloat16
    close = half.encode_image(joint.pictures[:2])
    assert 0 < np.abs(close - expected).max() < 0.1
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.encode_image(joint.pictures[:2]), expected)


def test_the_explorer_and_the_command_find_all_stores_of_a_side(joint: Project) -> None:
    explored = Explored(joint.root)["joint"]
    assert explored.as_json()["datasets"] == ["mine"]
    collection = explored.collection("mine")
    vector = opened(joint).encode_image([ImageTable(joint.root / "data/index/pairs/mine").load(6)])[0]
    (nearest,) = collection.nearest(vector, 1)
    assert nearest.id == ImageTable(joint.root / "data/index/pairs/mine").ids[6]
    assert [
        [folder.parent.name for folder in folders] for folders in _own_stores(opened(joint), joint.model("joint"))
    ] == [["grid", "second"]]
    shutil.rmtree(joint.store("second").folder)
    with pytest.raises(DataError, match=r"No stores below \S+/grid and \S+/second"):
        _own_stores(opened(joint), joint.model("joint"))
    assert "joint" not in Explored(joint.root).aligners


class Brightness:
    """An encoder whose only feature is the mean of its picture."""

    def __init__(self, bits: int | None) -> None:
        self.image_view = ImageView(encoder="eye", resolution=28, tier="cls", bits=bits)

    def image_features(self, images: Any, _: int, **__: Any) -> Any:
        opened = [open_image(images[number], bits=self.image_view.bits) for number in range(len(images))]
        yield {"cls": np.array([[np.asarray(image).mean()] for image in opened], dtype=np.float32)}


@pytest.mark.parametrize(("bits", "expected"), [((12, 12), (128, 128)), ((12, None), (128, 8)), ((None, None), (8, 8))])
def test_each_view_reads_deep_pictures_by_its_own_bits(
    tmp_path: Path, bits: tuple[int | None, int | None], expected: tuple[int, int]
) -> None:
    deep = tmp_path / "dark.png"
    Image.fromarray(np.full((4, 4), 2056, dtype=np.uint16)).save(deep)
    members: Any = {"image": dict(zip("ab", map(Brightness, bits), strict=True)), "text": {}}
    (features,) = FusedEncoders(members, "an aligner").image_features([deep], 1)
    np.testing.assert_array_equal(features["cls"], [expected])
