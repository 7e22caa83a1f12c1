"""Features from .npy and Parquet: values, ids, the fingerprint, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.commands import main
from pipeline.datasets.tables import image_id, text_id
from pipeline.encoding.imported import NOT_FINITE
from pipeline.errors import DataError, FingerprintMismatch, StoreError
from pipeline.features import FeatureStore
from pipeline.features.verify import verify
from pipeline.interop.import_npy import import_npy
from pipeline.paths import WORK_VARIABLE


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path / "work"


def retrieval(
    root: Path, kind: str = "img", parts: tuple[int, ...] = (5, 7), width: int = 8, **columns: Any
) -> np.ndarray:
    """A folder of clip-retrieval; the columns hold a value for each row of all parts."""
    vectors = np.random.default_rng(0).normal(size=(sum(parts), width)).astype(np.float16)
    start = 0
    for number, count in enumerate(parts):
        for folder in (f"{kind}_emb", "metadata"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        np.save(root / f"{kind}_emb" / f"{kind}_emb_{number}.npy", vectors[start : start + count])
        table = {name: values[start : start + count] for name, values in columns.items()}
        pq.write_table(pa.table(table or {"x": [0] * count}), root / "metadata" / f"metadata_{number}.parquet")
        start += count
    return vectors


def test_pictures_have_the_ids_of_their_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):
        path.write_bytes(b"picture" + bytes([number]))
    vectors = retrieval(tmp_path / "in", image_path=[str(path) for path in paths])
    done = import_npy(tmp_path / "in", tmp_path / "out", model="ViT-B-32/openai")
    assert (done.rows, done.width, done.ids, done.repeated, done.failed) == (12, 8, "files", 0, 0)
    store = FeatureStore.open(tmp_path / "out")
    assert store.ids.tolist() == [image_id(path.read_bytes()) for path in paths]
    read = store.read("cls", [image_id(paths[7].read_bytes()), image_id(paths[2].read_bytes())])
    assert np.array_equal(read[:, 0], vectors[[7, 2]])
    assert verify(tmp_path / "out").intact
    assert store.fingerprint["compared"]["imported"] == "ViT-B-32/openai"
    assert store.fingerprint["described"]["source"] == "imported"
    with pytest.raises(FingerprintMismatch, match="imported: found 'ViT-B-32/openai', expected None"):
        FeatureStore.open(tmp_path / "out", {"digest": "0", "compared": {}})


def test_texts_have_the_ids_of_their_strings_and_the_first_of_equal_ones_stays(tmp_path: Path) -> None:
    captions = ["a cat", "a dog", "a cat", "猫"]
    vectors = retrieval(tmp_path / "in", "text", (4,), caption=captions)
    done = import_npy(tmp_path / "in", tmp_path / "out", model="m", modality="text", dtype="float32")
    assert (done.rows, done.repeated, done.ids) == (3, 1, "texts")
    store = FeatureStore.open(tmp_path / "out")
    assert np.array_equal(store.read("pooled", [text_id("猫"), text_id("a cat")]), vectors[[3, 0]].astype(np.float32))


def test_another_import_under_the_same_name_and_ids_has_its_own_values(tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("two", 2.0)):
        np.save(tmp_path / f"{name}.npy", np.full((3, 4), value))
        import_npy(tmp_path / f"{name}.npy", tmp_path / "stores" / name, model="m")
    one, two = (FeatureStore.open(tmp_path / "stores" / name) for name in ("one", "two"))
    assert one.digest == two.digest
    assert (float(one.read("cls", ["0"]).max()), float(two.read("cls", ["0"]).max())) == (1.0, 2.0)


def test_rows_without_finite_values_are_failures(tmp_path: Path, work: Path) -> None:
    vectors = np.ones((3, 4), dtype=np.float32)
    vectors[1, 2] = np.nan
    np.save(tmp_path / "x.npy", vectors)
    pq.write_table(pa.table({"key": ["a", "b", "c"]}), tmp_path / "x.parquet")
    assert import_npy(tmp_path / "x.npy", tmp_path / "out", model="m", id_column="key").failed == 1
    store = FeatureStore.open(tmp_path / "out")
    assert store.reasons == {"b": NOT_FINITE}
    assert not list(work.glob("import-*"))


def spoilt(root: Path, how: str) -> Path:
    retrieval(root)
    if how == "rows":
        pq.write_table(pa.table({"x": [1]}), root / "metadata" / "metadata_1.parquet")
    if how == "width":
        np.save(root / "img_emb" / "img_emb_1.npy", np.ones((7, 9), dtype=np.float32))
    if how == "damaged":
        (root / "img_emb" / "img_emb_1.npy").write_bytes(b"\x93NUMPY")
    if how == "integers":
        np.save(root / "img_emb" / "img_emb_0.npy", np.ones((5, 8), dtype=np.int64))
    if how == "objects":
        np.save(root / "img_emb" / "img_emb_0.npy", np.array([{}, {}]), allow_pickle=True)
    if how == "table":
        (root / "metadata" / "metadata_0.parquet").unlink()
    return root


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("rows", "has 1 rows, the array beside it 7"),
        ("width", "is 9 wide"),
        ("damaged", "cannot be read as an array"),
        ("integers", r"it holds int64 \(5, 8\)"),
        ("objects", "cannot be read as an array"),
        ("table", "No table at"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(how: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        import_npy(spoilt(tmp_path / "in", how), tmp_path / "out", model="m")
    assert not (tmp_path / "out").exists()


def test_a_value_beyond_float16_and_a_store_that_is_there(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((2, 4), 1e6, dtype=np.float32))
    with pytest.raises(StoreError, match="float16"):
        import_npy(tmp_path / "x.npy", tmp_path / "out", model="m")
    import_npy(tmp_path / "x.npy", tmp_path / "out", model="m", dtype="float32")
    with pytest.raises(StoreError, match="is there already"):
        import_npy(tmp_path / "x.npy", tmp_path / "out", model="m")
    with pytest.raises(DataError, match="Say which model"):
        import_npy(tmp_path / "x.npy", tmp_path / "other", model=" ")


def test_the_command_says_what_the_ids_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    retrieval(tmp_path / "in", key=[f"k{number}" for number in range(12)])
    arguments = ["import-npy", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--model", "m", "--ids", "key"]
    assert main(arguments) == 0
    assert "12 rows, 8 wide, ids from column key" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "out")]) == 0
    assert "imported: m" in capsys.readouterr().out
