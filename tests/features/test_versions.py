"""Stores of other formats and other features are refused by name, and other readers read ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.errors import FingerprintMismatch, StoreError
from pipeline.features import FeatureStore, Fingerprint
from pipeline.features.fingerprint import FORMAT_VERSION
from pipeline.store.repair import rewrite
from tests.features import stores
from tests.features.stores import normal, write_store

COMPARED: dict[str, Any] = {
    "format_version": FORMAT_VERSION,
    "encoding_version": 1,
    "modality": "image",
    "weights": "a" * 64,
    "loader": "timm",
    "pooling": "cls",
    "compute_dtype": "float32",
    "stored_dtype": "float16",
    "preprocessing": "b" * 64,
    "layers": [5, 11],
    "resolution": 126,
    "tier": "grid",
    "grid": 4,
}
CHANGED: dict[str, Any] = {key: [*value, 1] if isinstance(value, list) else "other" for key, value in COMPARED.items()}


def made(folder: Path, **compared: Any) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stores, "FINGERPRINT", Fingerprint(COMPARED | compared))
        return write_store(folder, {"cls": normal(20, 2, 5)}, 8)


@pytest.mark.parametrize("field", sorted(COMPARED))
def test_each_changed_field_is_named_alone(tmp_path: Path, field: str) -> None:
    store = made(tmp_path)
    wanted = Fingerprint(COMPARED | {field: CHANGED[field]}).as_dict()
    with pytest.raises(FingerprintMismatch) as caught:
        FeatureStore.open(store, expect=wanted)
    listed = [line for line in str(caught.value).splitlines() if ": found " in line]
    assert listed == [f"  {field}: found {COMPARED[field]!r}, expected {CHANGED[field]!r}"]


@pytest.mark.parametrize(("version", "said"), [(0, "Write the store"), (FORMAT_VERSION + 1, "newer Permafrost")])
def test_another_format_is_refused_with_the_way_out(tmp_path: Path, version: int, said: str) -> None:
    store = made(tmp_path / "other", format_version=version)
    with pytest.raises(StoreError, match=rf"is of format {version}, (?s:.*){said}(?s:.*)pipeline\.store repair"):
        FeatureStore.open(store)
    (store / "manifest.json").unlink()  # older stores had none
    with pytest.raises(StoreError, match=rf"is of format {version}, "):
        FeatureStore.open(store)

    def write() -> None:
        store.rename(tmp_path / "old")
        made(tmp_path / "new").rename(store)

    assert rewrite(store, write).needed
    assert len(FeatureStore.open(store)) == 20
    assert not rewrite(store, lambda: pytest.fail("written twice")).needed


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray]]:
    values = {"cls": normal(40, 2, 5), "grid": normal(40, 4, 5, dtype="float32")}
    return write_store(tmp_path, values, 16), values


def test_zarrs_reads_the_same(published: tuple[Path, dict[str, np.ndarray]]) -> None:
    pytest.importorskip("zarrs")
    store, values = published
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        for name, expected in values.items():
            np.testing.assert_array_equal(np.asarray(zarr.open_array(str(store / name), mode="r")[:]), expected)


def test_tensorstore_reads_the_same(published: tuple[Path, dict[str, np.ndarray]]) -> None:
    tensorstore = pytest.importorskip("tensorstore")
    store, values = published
    for name, expected in values.items():
        spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(store / name)}}
        array = tensorstore.open(spec, read=True, open=True).result()
        np.testing.assert_array_equal(array.read().result(), expected)
