"""Vectors of another program as an encoder of a project: rows by content or by name, features, refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.accounting.parameters import counts_by_weights
from pipeline.config import EncodeParams, EncoderSpec, ImageView, TextView
from pipeline.config.complete import completed
from pipeline.datasets.tables import image_id, read_table, text_id
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.imported import VECTORS_FILE
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.imported import ImportedRows
from pipeline.encoding.modalities import plan_and_loader
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import CheckpointError, SourceError
from pipeline.features import FeatureStore
from pipeline.inference.checkpoints import obtain_checkpoint
from pipeline.inference.recorded import recorded_specs
from pipeline.paths import WORK_VARIABLE
from tests.inference.conftest import WORDS, Project, project

__all__ = ["project"]
WIDTH = 8
IMAGE = ImageView(encoder="clip", resolution=224, tier="cls")
TEXT = TextView(encoder="clip")


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))


def entry(modality: str, source: Path) -> EncoderSpec:
    raw = completed({"encoders": {"clip": {"modality": modality, "source": "imported", "model": str(source)}}})
    return EncoderSpec.model_validate(raw["encoders"]["clip"])


def vectors(rows: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(np.float16)


def retrieval(root: Path, kind: str, parts: tuple[int, ...], **columns: Any) -> np.ndarray:
    """A folder of clip-retrieval; the columns hold a value for each row of all parts."""
    whole, start = vectors(sum(parts)), 0
    for number, count in enumerate(parts):
        for folder in (f"{kind}_emb", "metadata"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        np.save(root / f"{kind}_emb" / f"{kind}_emb_{number}.npy", whole[start : start + count])
        table = pa.table({name: values[start : start + count] for name, values in columns.items()})
        pq.write_table(table, root / "metadata" / f"metadata_{number}.parquet")
        start += count
    return whole


def stored(spec: EncoderSpec, view: ImageView | TextView, project: Project, root: Path, rate: float = 0.0) -> Any:
    checkpoint = root / "checkpoints/clip"
    materialise(spec, checkpoint)

    class Settings:
        encoder, encode = spec, EncodeParams(shard_rows=4)

    Settings.view = view  # type: ignore[attr-defined]
    plan, load = plan_and_loader(Settings, checkpoint, project.root / "data/index/pairs/mine")  # type: ignore[arg-type]
    job = StoreEncoder("clip", fingerprint_of(read_manifest(checkpoint), spec, view), load, rate)
    job.run(plan, root / "store")
    return FeatureStore.open(root / "store")


def test_pictures_are_found_by_their_bytes(project: Project, tmp_path: Path) -> None:
    paths = list(reversed(project.pictures))
    whole = retrieval(tmp_path / "in", "img", (3, 7), image_path=[str(path) for path in paths], key=["x"] * 10)
    store = stored(entry("image", tmp_path / "in"), IMAGE, project, tmp_path)
    assert store.shape("cls") == (10, 1, WIDTH)
    for path, vector in zip(paths, whole, strict=True):
        np.testing.assert_array_equal(store.read("cls", [image_id(path.read_bytes())])[0, 0], vector)
    assert store.fingerprint["compared"]["loader"] == "imported"
    assert store.fingerprint["described"]["source"] == "imported"


def test_captions_are_found_by_their_words_and_the_first_of_equal_ones_counts(project: Project, tmp_path: Path) -> None:
    captions = [f"a picture of a {word}" for word in (*WORDS, WORDS[2])]
    whole = retrieval(tmp_path / "in", "text", (11,), caption=captions)
    store = stored(entry("text", tmp_path / "in"), TEXT.model_copy(update={"dtype": "float32"}), project, tmp_path)
    for caption, vector in zip(captions[:10], whole, strict=False):
        np.testing.assert_array_equal(store.read("pooled", [text_id(caption)])[0], vector.astype(np.float32))


@pytest.mark.parametrize(
    ("column", "name"),
    [("key", "{word}"), ("key", "{word}.png"), ("image_path", "/gone/{word}.jpg"), ("file", "shard/{word}.png")],
)
def test_pictures_are_found_by_name_where_their_files_are_elsewhere(
    column: str, name: str, project: Project, tmp_path: Path
) -> None:
    whole = retrieval(tmp_path / "in", "img", (10,), **{column: [name.format(word=word) for word in WORDS]})
    store = stored(entry("image", tmp_path / "in"), IMAGE, project, tmp_path)
    table = read_table(project.root / "data/index/pairs/mine/images.parquet", ["image_id", "key"]).to_pylist()
    assert len(table) == 10
    for row in table:
        word = Path(row["key"]).stem
        np.testing.assert_array_equal(store.read("cls", [row["image_id"]])[0, 0], whole[WORDS.index(word)])


def test_names_that_folders_alone_tell_apart_are_not_mixed_up(tmp_path: Path) -> None:
    retrieval(tmp_path / "in", "img", (3,), key=["a/1.jpg", "b/1.jpg", "b/2.jpg"])
    materialise(entry("image", tmp_path / "in"), tmp_path / "clip")
    rows = ImportedRows(tmp_path / "clip", IMAGE, {"p": "a/1.jpg", "q": "b/1.jpg"})
    (batch,) = rows.encode(["q", "p"])
    np.testing.assert_array_equal(batch.arrays["cls"][:, 0], vectors(3)[[1, 0]].astype(np.float32))
    rows = ImportedRows(tmp_path / "clip", IMAGE, {"p": "x/1.jpg", "q": "y/2.jpg"})  # which 1.jpg?
    (batch,) = rows.encode(["p", "q"])
    assert batch.reasons == ["no imported vector has this image's name"] * 2


def test_pictures_without_a_vector_fail_and_too_many_stop_the_run(project: Project, tmp_path: Path) -> None:
    whole = vectors(10)
    whole[4] = np.nan
    np.save(tmp_path / "in.npy", whole[:9])
    pq.write_table(pa.table({"path": [str(path) for path in project.pictures[:9]]}), tmp_path / "in.parquet")
    spec = entry("image", tmp_path / "in.npy")
    store = stored(spec, IMAGE, project, tmp_path, rate=0.2)
    missing, spoilt = (image_id(project.pictures[row].read_bytes()) for row in (9, 4))
    assert store.reasons == {
        missing: "no imported vector has this image's content",
        spoilt: "the imported vector has NaN or infinite values",
    }
    np.save(tmp_path / "in.npy", vectors(9))
    with pytest.raises(SourceError, match=r"max_failure_rate(?s:.*)no imported vector has this image's content"):
        stored(spec, IMAGE, project, tmp_path / "again", rate=0.0)


def test_the_same_vectors_give_the_same_checkpoint_and_others_another(tmp_path: Path) -> None:
    for name, scale in (("one", 1), ("two", 1), ("three", 2)):
        np.save(tmp_path / f"{name}.npy", vectors(4) * np.float16(scale))
        pq.write_table(pa.table({"key": list("abcd")}), tmp_path / f"{name}.parquet")
    one, two, three = (
        materialise(entry("image", tmp_path / f"{name}.npy"), tmp_path / "checkpoints" / name).weights_sha256
        for name in ("one", "two", "three")
    )
    assert one == two != three
    assert counts_by_weights([tmp_path / "checkpoints/one"]) == {one: 0}
    with open(tmp_path / "checkpoints/one" / VECTORS_FILE, "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(CheckpointError, match=r"vectors\.npy is changed"):
        ImportedRows(tmp_path / "checkpoints/one", IMAGE, {})


@pytest.mark.parametrize(
    ("modality", "columns", "message"),
    [
        ("image", {"caption": list("abcd")}, r"with a column image_path, path, filepath, file or key"),
        ("text", {"key": list("abcd")}, r"with a column caption or text"),
        ("image", {"key": list("abc")}, "has 3 rows, the array beside it 4"),
        ("image", None, "nothing says what the rows"),
    ],
)
def test_vectors_that_nothing_names_are_refused(
    modality: str, columns: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "in.npy", vectors(4))
    if columns is not None:
        pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    with pytest.raises(CheckpointError, match=f"encoders.clip: .*{message}"):
        materialise(entry(modality, tmp_path / "in.npy"), tmp_path / "clip")
    with pytest.raises(CheckpointError, match=r"encoders.clip: .*has no \w+_emb"):
        materialise(entry(modality, tmp_path), tmp_path / "clip")


@pytest.mark.parametrize(("modality", "view"), [("image", IMAGE), ("text", TEXT)])
def test_nothing_new_can_be_encoded(modality: str, view: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "in.npy", vectors(4))
    pq.write_table(pa.table({"key": list("abcd"), "text": list("abcd")}), tmp_path / "in.parquet")
    spec = entry(modality, tmp_path / "in.npy")
    manifest = materialise(spec, tmp_path / "clip")
    load = load_image_encoder if modality == "image" else load_text_encoder
    with pytest.raises(CheckpointError, match="the encoder that made them is not here"):
        load(tmp_path / "clip", spec, view, "cpu")  # type: ignore[operator]
    fingerprint = fingerprint_of(manifest, spec, view).as_dict()
    again, kept = recorded_specs(fingerprint, "x")
    assert (again, kept.model_copy(update={"encoder": "clip"})) == (spec, view)
    with pytest.raises(CheckpointError, match=f"The {modality} side of Aligner 'x' has vectors that were imported"):
        obtain_checkpoint(fingerprint, again, kept, [tmp_path], "Aligner 'x'")
