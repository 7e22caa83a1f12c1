"""int8 features: half the bytes, a bounded error, and everything downstream as before."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import Batch
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import StoreError
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.quantised import served_rows, stored_rows, stored_specs
from pipeline.features.scratch import WORK_VARIABLE
from pipeline.features.shards import fit
from pipeline.features.span import Span
from pipeline.features.verify import verify


class Known:
    """Gives each id (a number) the features of that row of `values`; counts what it encodes."""

    def __init__(self, values: np.ndarray, dtype: str, broken: Sequence[str] = ()) -> None:
        self.specs = (ArraySpec("cls", values.shape[1:], dtype), ArraySpec("pooled", values.shape[2:], dtype))
        self.notes: dict[str, object] = {}
        self.encoded: list[str] = []
        self._values, self._broken = values, broken

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        self.encoded += ids
        values = self._values[[int(identifier) for identifier in ids]]
        reasons = ["broken" if identifier in self._broken else None for identifier in ids]
        values[[reason is not None for reason in reasons]] = np.nan
        yield Batch(list(range(len(ids))), {"cls": values, "pooled": values[:, 0]}, reasons)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))


def encode(out: Path, encoder: Known, ids: Sequence[int], shard_rows: int = 8) -> FeatureStore:
    job = StoreEncoder("toy", Fingerprint({"dtype": encoder.specs[0].dtype}), lambda: encoder, 0.5)
    job.run(Plan(tuple(map(str, ids)), shard_rows), out)
    return FeatureStore.open(out)


def normal(rows: int, seed: int = 0) -> np.ndarray:
    """Tokens (rows, 2, 256) of very different magnitudes."""
    generator = np.random.default_rng(seed)
    sizes = 10.0 ** generator.uniform(-3, 3, (rows, 2, 1))
    return (generator.normal(size=(rows, 2, 256)) * sizes).astype(np.float32)


def test_values_are_off_by_at_most_half_a_scale(tmp_path: Path) -> None:
    values = normal(20)
    values[3, 1] = 0
    store = encode(tmp_path / "out", Known(values, "int8"), range(20))
    served = store.read("cls", store.ids)
    assert served.dtype == np.float16
    assert store.names == ("cls", "pooled")
    rounding = np.abs(values).astype(np.float64) * 2**-11 + 2**-25
    largest = np.abs(values).max(axis=-1, keepdims=True)
    error = np.abs(served - values.astype(np.float64))
    assert (error <= largest / 254 * 1.001 + rounding * 2).all()
    assert error.max() > 0
    assert (served[3, 1] == 0).all()


def test_rows_and_ranges_are_codes_times_scales(tmp_path: Path) -> None:
    store = encode(tmp_path / "out", Known(normal(20), "int8"), range(20))
    group = zarr.open_group(str(tmp_path / "out"), mode="r")
    codes, scales = np.asarray(group["cls"][:]), np.asarray(group["cls_scale"][:])
    assert (codes.dtype, scales.dtype) == (np.int8, np.float32)
    assert (np.abs(codes.astype(int)).max(axis=-1) == 127).all()
    expected = (codes * scales[..., None]).astype(np.float16)
    rows = np.array([19, 0, 7, 7])
    assert np.array_equal(store.array("cls").take(rows), expected[rows])
    out = np.empty((9, 2, 256), np.float16)
    assert store.array("cls").read_range(5, 14, out) is out
    assert np.array_equal(out, expected[5:14])
    span = Span([store.array("cls"), store.array("cls")])
    assert np.array_equal(span.take(np.array([21, 3])), expected[[1, 3]])


def test_half_the_bytes(tmp_path: Path) -> None:
    values = normal(512)
    sizes = {}
    for dtype in ("int8", "float16"):
        encode(tmp_path / dtype, Known(values, dtype), range(512), shard_rows=512)
        sizes[dtype] = sum(f.stat().st_size for f in (tmp_path / dtype).rglob("c/**/*") if f.is_file())
    assert 0.5 < sizes["int8"] / sizes["float16"] < 0.52


def test_growth_reuses_rows_and_a_rerun_encodes_nothing(tmp_path: Path) -> None:
    values = normal(30)
    first = encode(tmp_path / "first", Known(values, "int8"), range(20))
    encoder = Known(values, "int8")
    grown = encode(tmp_path / "grown", encoder, [5, *range(20, 30), 3])
    assert encoder.encoded == [str(n) for n in range(20, 30)]
    assert np.array_equal(grown.read("cls", ["3", "5"]), first.read("cls", ["3", "5"]))
    again = Known(values, "int8")
    encode(tmp_path / "again", again, range(20))
    assert again.encoded == []
    assert verify(tmp_path / "again").intact


def test_failed_samples_are_never_served(tmp_path: Path) -> None:
    store = encode(tmp_path / "out", Known(normal(20), "int8", broken=["4"]), range(20))
    assert store.reasons == {"4": "broken"}
    group = zarr.open_group(str(tmp_path / "out"), mode="r")
    assert np.isnan(np.asarray(group["cls_scale"][4])).all()
    assert (np.asarray(group["cls"][4]) == 0).all()
    with pytest.raises(StoreError, match="could not be encoded"):
        store.read("cls", ["4"])


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_refused(dtype: str, value: float) -> None:
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = value
    specs = [ArraySpec("pooled", (4,), dtype)]
    with pytest.raises(StoreError, match="'pooled'"):
        stored_rows({"pooled": values}, specs, np.zeros(3, dtype=bool))
    failed = np.array([False, True, False])
    assert set(stored_rows({"pooled": values}, specs, failed)) == {spec.name for spec in stored_specs(specs)}


def test_what_float16_cannot_serve_is_refused() -> None:
    values = np.full((1, 4), 70000, np.float32)
    with pytest.raises(StoreError, match="dtype: float32"):
        stored_rows({"pooled": values}, [ArraySpec("pooled", (4,), "int8")], np.zeros(1, dtype=bool))
    assert fit(values, ArraySpec("pooled", (4,), "float32"), np.zeros(1, dtype=bool)).max() == 70000


def test_features_made_on_the_way_equal_those_of_a_store(tmp_path: Path) -> None:
    values = normal(12)
    encoder = Known(values, "int8")
    store = encode(tmp_path / "out", encoder, range(12))
    served = served_rows({"cls": values, "pooled": values[:, 0]}, encoder.specs)
    assert np.array_equal(served["cls"], store.read("cls", store.ids))
    assert np.array_equal(served["pooled"], store.read("pooled", store.ids))
