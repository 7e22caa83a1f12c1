"""Ragged arrays: any number of tokens per sample, no padding stored, and all that holds for other arrays."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.encoding import run
from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import Batch
from pipeline.encoding.run import StoreEncoder
from pipeline.errors import StoreError
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.manifest import MANIFEST
from pipeline.features.ragged import padded
from pipeline.features.scratch import WORK_VARIABLE, scratch_folder
from pipeline.features.verify import verify
from tests.features.stores import flip

WIDTH = 24


def tokens_of(identifier: str) -> np.ndarray:
    """(T, WIDTH) float32, T from 1 to 9."""
    number = int(identifier)
    return np.random.default_rng(number).normal(size=(number * 7 % 9 + 1, WIDTH)).astype(np.float32)


class Texts:
    """Gives each id (a number) tokens made of it, three samples at a time and last first."""

    def __init__(self, dtype: str = "float16", broken: Sequence[str] = ()) -> None:
        self.specs = (ArraySpec("pooled", (WIDTH,), dtype), ArraySpec("tokens", (WIDTH,), dtype, most=9))
        self.notes: dict[str, object] = {}
        self.encoded: list[str] = []
        self._broken = broken

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        self.encoded += ids
        for stop in range(len(ids), 0, -3):
            positions = list(range(max(0, stop - 3), stop))[::-1]
            found = [tokens_of(ids[p]) for p in positions]
            arrays = {
                "pooled": np.stack([tokens.mean(axis=0) for tokens in found]),
                "tokens": np.concatenate(found),
                "tokens_length": np.array([len(tokens) for tokens in found]),
            }
            yield Batch(positions, arrays, ["broken" if ids[p] in self._broken else None for p in positions])

    def tokens(self, ids: Sequence[str]) -> list[int]:
        return [len(tokens_of(identifier)) for identifier in ids]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))


def encode(out: Path, ids: Sequence[int], encoder: Texts | None = None, shard_rows: int = 8) -> FeatureStore:
    encoder = encoder or Texts()
    fingerprint = Fingerprint({"dtype": encoder.specs[0].dtype})
    StoreEncoder("toy", fingerprint, lambda: encoder, 0.5).run(Plan(tuple(map(str, ids)), shard_rows), out)
    return FeatureStore.open(out)


def test_tokens_come_back_by_row_in_any_order(tmp_path: Path) -> None:
    store = encode(tmp_path / "out", range(30))
    assert (store.names, store.ragged_names) == (("pooled",), ("tokens",))
    tokens = store.ragged("tokens")
    assert tokens.offsets[-1] == sum(len(tokens_of(str(n))) for n in range(30))
    ids = ["29", "0", "8", "7", "8"]
    values, offsets = tokens.take(store.rows(ids))
    assert offsets[-1] == len(values)
    for identifier, start, stop in zip(ids, offsets[:-1], offsets[1:], strict=True):
        assert np.array_equal(values[start:stop], tokens_of(identifier).astype(np.float16))
    rows, mask = tokens.take_padded(store.rows(ids))
    assert rows.shape == (5, max(len(tokens_of(i)) for i in ids), WIDTH)
    assert np.array_equal(rows[mask], values)
    assert (rows[~mask] == 0).all()
    assert tokens.take_padded(store.rows(ids), 12)[0].shape == (5, 12, WIDTH)
    assert len(tokens.take(np.array([], dtype=np.int64))[0]) == 0


def test_zarr_reads_every_token_and_no_padding_is_stored(tmp_path: Path) -> None:
    encode(tmp_path / "out", range(30))
    group = zarr.open_group(str(tmp_path / "out"), mode="r")
    lengths = np.asarray(group["tokens_length"][:])
    assert lengths.tolist() == [len(tokens_of(str(n))) for n in range(30)]
    whole = np.concatenate([np.asarray(group[f"tokens/{number}"][:]) for number in range(4)])
    expected = np.concatenate([tokens_of(str(n)) for n in range(30)]).astype(np.float16)
    assert np.array_equal(whole, expected)
    files = (tmp_path / "out/tokens").rglob("c/0/0")
    assert sum(path.stat().st_size for path in files) == expected.nbytes + 4 * 20


def test_growth_reorder_and_rerun_encode_only_what_is_new(tmp_path: Path) -> None:
    encode(tmp_path / "first", range(20))
    encoder = Texts()
    grown = encode(tmp_path / "grown", [21, *range(19, 3, -1), 20], encoder)
    assert sorted(encoder.encoded) == ["20", "21"]
    for identifier in ("21", "4", "19"):
        values, _ = grown.ragged("tokens").take(grown.rows([identifier]))
        assert np.array_equal(values, tokens_of(identifier).astype(np.float16))
    again = Texts()
    encode(tmp_path / "again", range(20), again)
    assert again.encoded == []
    assert (tmp_path / "again" / MANIFEST).read_bytes() == (tmp_path / "first" / MANIFEST).read_bytes()


def test_failed_samples_have_no_tokens(tmp_path: Path) -> None:
    store = encode(tmp_path / "out", range(12), Texts(broken=["3", "11"]))
    assert store.ragged("tokens").lengths[[3, 11]].tolist() == [0, 0]
    values, _ = store.ragged("tokens").take(store.rows(["2", "4"]))
    assert np.array_equal(values, np.concatenate([tokens_of("2"), tokens_of("4")]).astype(np.float16))
    with pytest.raises(StoreError, match="could not be encoded"):
        store.rows(["3"])


def test_int8_tokens_have_a_scale_each(tmp_path: Path) -> None:
    store = encode(tmp_path / "out", range(20), Texts("int8"))
    values, _ = store.ragged("tokens").take(np.arange(20))
    expected = np.concatenate([tokens_of(str(n)) for n in range(20)])
    assert values.dtype == np.float16
    assert (np.abs(values - expected) <= np.abs(expected).max(axis=1, keepdims=True) / 160).all()
    assert np.asarray(zarr.open_array(str(tmp_path / "out/tokens/0"), mode="r")[:]).dtype == np.int8


def test_a_store_of_failures_alone_and_an_empty_one(tmp_path: Path) -> None:
    encoder = Texts(broken=["0", "1"])
    StoreEncoder("toy", Fingerprint({"dtype": "x"}), lambda: encoder, 1.0).run(Plan(("0", "1"), 8), tmp_path / "out")
    assert len(FeatureStore.open(tmp_path / "out").ragged("tokens").take(np.array([0, 1]))[0]) == 0
    assert verify(tmp_path / "out").intact


def test_flipped_bits_are_found_with_and_without_a_manifest(tmp_path: Path) -> None:
    encode(tmp_path / "out", range(20))
    shutil.copytree(tmp_path / "out", tmp_path / "copy")
    flip(tmp_path / "copy/tokens/1/c/0/0", 100, 3)
    assert [str(d.path) for d in verify(tmp_path / "copy").damages] == ["tokens/1/c/0/0"]
    (tmp_path / "copy" / MANIFEST).unlink()
    assert [str(d.path) for d in verify(tmp_path / "copy").damages] == ["tokens/1/c/0/0"]


def test_lengths_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    encode(tmp_path / "out", range(20))
    flip(tmp_path / "out/tokens_length/c/0", 0, 0)
    with pytest.raises(StoreError, match="tokens, its rows should have"):
        FeatureStore.open(tmp_path / "out").ragged("tokens")
    with pytest.raises(StoreError, match="no ragged 'words'"):
        FeatureStore.open(tmp_path / "out").ragged("words")


def test_the_forecast_goes_by_the_lengths_of_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(run, "require_space", lambda needed, _: asked.append(needed))
    encode(tmp_path / "out", range(40))
    stored = sum(f.stat().st_size for f in scratch_folder(Fingerprint({"dtype": "float16"}).digest).glob("*/tokens"))
    assert stored < asked[0] < 2 * stored


def test_padding_keeps_the_order() -> None:
    values, mask = padded(np.arange(1, 4)[:, None], np.array([1, 0, 2]), 3)
    assert values[..., 0].tolist() == [[1, 0, 0], [0, 0, 0], [2, 3, 0]]
    assert mask.tolist() == [[True, False, False], [False, False, False], [True, True, False]]
