"""A remote store reads as the local one that was pushed, and a wrong one is refused before its rows are asked for."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import FingerprintMismatch, MissingRows, StoreError
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.objects.bucket import Bucket
from pipeline.features.objects.push import push
from pipeline.features.publish import publish
from pipeline.features.quantised import stored_rows, stored_specs
from pipeline.features.shards import ShardWriter
from pipeline.features.shuffle import BlockShuffle
from pipeline.features.stream import Side, stream
from pipeline.object_url import is_object_url, object_url
from tests.features.stores import FINGERPRINT, normal, write_store
from tests.objects.faulty import Faulty


def everything(folder: Path, rows: int = 50, shard_rows: int = 8) -> Path:
    """A store with an int8 array, a ragged one and a plain one; row 3 could not be encoded."""
    made = [
        ArraySpec("cls", (2, 6), "int8"),
        ArraySpec("pooled", (6,), "float32"),
        ArraySpec("tokens", (4,), "float16", 5),
    ]
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, rows)
    values = {"cls": rng.normal(size=(rows, 2, 6)), "pooled": rng.normal(size=(rows, 6))}
    tokens = rng.normal(size=(int(lengths.sum()), 4))
    ends = np.cumsum(lengths)
    specs, shards = stored_specs(made), []
    for start in range(0, rows, shard_rows):
        part = slice(start, min(rows, start + shard_rows))
        failed = np.arange(part.start, part.stop) == 3
        inside = tokens[ends[part.start] - lengths[part.start] : ends[part.stop - 1]]
        some = {name: array[part] for name, array in values.items()} | {
            "tokens": inside,
            "tokens_length": lengths[part],
        }
        with ShardWriter(
            folder / "scratch", specs, [f"id{k}" for k in range(part.start, part.stop)], shard_rows
        ) as writer:
            writer.append(stored_rows(some, made, failed), ["broken" if one else None for one in failed])
            shards.append(writer.finish())
    publish(folder / "store", FINGERPRINT, specs, shards, shard_rows, {})
    return folder / "store"


def test_every_kind_of_array_reads_as_from_the_folder(address: str, tmp_path: Path) -> None:
    folder = everything(tmp_path)
    push(folder, f"{address}/a/emoji")
    here, there = FeatureStore.open(folder), FeatureStore.open(f"{address}/a/emoji/")
    assert (there.source, there.digest) == (f"{address}/a/emoji", here.digest)
    assert (there.folder.name, there.folder.parent.name) == ("emoji", "a")
    assert there.ids.tolist() == here.ids.tolist()
    assert (dict(there.reasons), there.names, there.ragged_names) == (dict(here.reasons), here.names, here.ragged_names)
    rows = np.array([49, 0, 7, 8, 0, 23, 22, 21])
    for name in here.names:
        mine, other = here.array(name), there.array(name)
        assert (other.shape, other.dtype, other.stored_dtype, len(other)) == (
            mine.shape, mine.dtype, mine.stored_dtype, len(mine),
        )  # fmt: skip
        np.testing.assert_array_equal(other.take(rows), mine.take(rows))
        for start, stop in ((0, 50), (5, 9), (8, 8), (41, 50)):
            np.testing.assert_array_equal(other.read_range(start, stop), mine.read_range(start, stop))
        out = np.empty((len(rows), *mine.shape[1:]), mine.dtype)
        assert other.take(rows, out=out) is out
    np.testing.assert_array_equal(there.read("pooled", ["id7", "id48"]), here.read("pooled", ["id7", "id48"]))
    for mine, other in zip(here.ragged("tokens").take(rows), there.ragged("tokens").take(rows), strict=True):
        np.testing.assert_array_equal(other, mine)


def test_wrong_asks_are_refused_as_by_a_local_store(address: str, tmp_path: Path) -> None:
    push(everything(tmp_path), f"{address}/a/emoji")
    store = FeatureStore.open(f"{address}/a/emoji")
    with pytest.raises(MissingRows, match=f"{address}/a/emoji lacks 1 of 1 requested ids"):
        store.read("pooled", ["nobody"])
    with pytest.raises(MissingRows, match="broken"):
        store.read("pooled", ["id3"])
    with pytest.raises(StoreError, match=r"has rows 0 to 49, asked for 50"):
        store.array("pooled").take(np.array([50]))
    with pytest.raises(StoreError, match=r"has rows 0 to 50, asked for 3 to 51"):
        store.array("pooled").read_range(3, 51)
    with pytest.raises(StoreError, match=r"np\.flatnonzero"):
        store.array("pooled").take(np.ones(50, bool))
    with pytest.raises(StoreError, match="C-contiguous"):
        store.array("pooled").take(np.array([1]), out=np.empty((1, 6), np.float64))
    with pytest.raises(StoreError, match="remote"):
        store.array("pooled").view()  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="no ragged 'pooled'"):
        store.ragged("pooled")


def test_a_store_and_its_arrays_go_to_another_process(address: str, tmp_path: Path) -> None:
    push(everything(tmp_path), f"{address}/a/emoji")
    store = FeatureStore.open(f"{address}/a/emoji")
    sent = pickle.loads(pickle.dumps(store))
    assert sent.source == store.source
    array = pickle.loads(pickle.dumps(store.array("pooled")))
    np.testing.assert_array_equal(array.read_range(0, 50), sent.array("pooled").read_range(0, 50))


def test_a_wrong_store_is_refused_before_its_ids_and_shards_are_asked_for(
    address: str, faulty: Faulty, tmp_path: Path
) -> None:
    push(write_store(tmp_path, {"cls": normal(64, 8)}, 8), f"{address}/a/emoji")
    faulty.asked.clear()
    expected = Fingerprint({"weights": "other", "resolution": 126}).as_dict()
    with pytest.raises(FingerprintMismatch, match=r"(?s)emoji.*weights: found 'abc', expected 'other'"):
        FeatureStore.open(f"{address}/a/emoji", expect=expected)
    assert [one.path.rpartition("/")[2] for one in faulty.asked] == ["manifest.json", "zarr.json"]
    FeatureStore.open(f"{address}/a/emoji")
    with pytest.raises(FingerprintMismatch, match="weights"):  # its metadata is here by now
        FeatureStore.open(f"{address}/a/emoji", expect=expected)
    assert not faulty.shards()


def test_opening_again_asks_for_the_manifest_alone_and_no_row_comes_twice(
    address: str, faulty: Faulty, tmp_path: Path
) -> None:
    push(write_store(tmp_path, {"cls": normal(64, 8)}, 8), f"{address}/a/emoji")
    FeatureStore.open(f"{address}/a/emoji").array("cls").read_range(0, 64)
    assert sorted(faulty.shards()) == sorted(set(faulty.shards()))
    assert len(faulty.shards()) == 8  # of `cls`; `valid` is not read
    faulty.asked.clear()
    store = FeatureStore.open(Path(f"{address}/a/emoji"))  # a Path has one slash less
    np.testing.assert_array_equal(store.array("cls").read_range(0, 64), normal(64, 8))
    assert [one.path.rpartition("/")[2] for one in faulty.asked] == ["manifest.json"]


def test_few_rows_fetch_few_shards(address: str, faulty: Faulty, tmp_path: Path) -> None:
    push(write_store(tmp_path, {"cls": normal(160, 8)}, 8), f"{address}/a/emoji")
    FeatureStore.open(f"{address}/a/emoji").array("cls").take(np.array([83, 85, 32]))
    assert {path.rpartition("/c/")[2] for path in faulty.shards()} == {"4/0", "10/0"}


def test_damaged_metadata_on_this_disk_is_fetched_again(address: str, tmp_path: Path) -> None:
    push(write_store(tmp_path, {"cls": normal(16, 8)}, 8), f"{address}/a/emoji")
    for name in ("rows.parquet", "remote.json", "cls/zarr.json"):
        folder = FeatureStore.open(f"{address}/a/emoji").folder
        (folder / name).write_bytes(b"spoilt")
        assert len(FeatureStore.open(f"{address}/a/emoji")) == 16


def test_metadata_of_stores_that_nobody_opens_is_forgotten(address: str, tmp_path: Path) -> None:
    folder = write_store(tmp_path, {"cls": normal(16, 8)}, 8)
    places = []
    for name in ("old", "new"):
        push(folder, f"{address}/a/{name}")
        places.append(FeatureStore.open(f"{address}/a/{name}").folder.parents[1])
        os.utime(places[-1], (0, 0))
    FeatureStore.open(f"{address}/a/new")
    push(folder, f"{address}/a/third")
    FeatureStore.open(f"{address}/a/third")
    assert [place.is_dir() for place in places] == [False, True]


def test_an_epoch_streams_every_pair_once(address: str, tmp_path: Path) -> None:
    values = normal(200, 4)
    push(write_store(tmp_path, {"cls": values}, 16), f"{address}/a/emoji")
    array = FeatureStore.open(f"{address}/a/emoji").array("cls")
    side = Side(np.arange(200), (array,))
    got = list(stream((side,), BlockShuffle(200, 8, 4), 32, seed=0, epoch=0))
    assert sorted(np.concatenate([batch.pairs for batch in got]).tolist()) == list(range(200))
    for batch in got:
        np.testing.assert_array_equal(batch.sides[0][0], values[batch.pairs])


def test_a_shard_larger_than_a_piece_comes_in_several_ranges(
    address: str, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features.objects.bucket.PIECE", 1000)
    values = normal(64, 100)
    folder = write_store(tmp_path, {"cls": values}, 64)
    push(folder, f"{address}/a/emoji")
    np.testing.assert_array_equal(FeatureStore.open(f"{address}/a/emoji").array("cls").read_range(0, 64), values)
    assert len(faulty.shards()) == -(-(folder / "cls/c/0/0").stat().st_size // 1000)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("s3://bucket", "bucket and a prefix"),
        ("s3://bucket/", "bucket and a prefix"),
        ("s3://bucket//x", "bucket and a prefix"),
        ("s3://bucket/../x", "bucket and a prefix"),
        ("s3://bucket/x?key=secret", "environment"),
    ],
)
def test_an_address_that_is_none_is_refused(given: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        FeatureStore.open(given)


@pytest.mark.parametrize("address", ["gs://bucket/a/x", "az://container/a/x", "abfs://container/a/x", "s3a://bucket/x"])
def test_addresses_of_every_kind_make_a_client(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "a2V5")
    assert Bucket(address).url == address  # no request is made


def test_what_is_an_address() -> None:
    for address in ("s3://b/x", "gs://b/x", "az://b/x", Path("s3://b/x")):
        assert is_object_url(address)
        assert object_url(address).count("//") == 1
    for folder in ("s3/b/x", "data/s3:/x", "s4://b/x", "file:///x", "https://b/x"):
        assert not is_object_url(folder)
