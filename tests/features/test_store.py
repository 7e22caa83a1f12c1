"""The store against Zarr's own reader, and against what may befall it."""

import errno
import itertools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FingerprintMismatch, MissingRows, StoreError
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.layout import shard_path
from pipeline.features.publish import publish
from pipeline.features.shards import ScratchShard, ShardWriter, row_list, shard_key, write_rows
from pipeline.parquet import read_parquet
from tests.features.stores import FINGERPRINT, write_store

SPECS = [ArraySpec("cls", (2, 5), "float16"), ArraySpec("grid", (4, 5), "float16")]


def features(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {spec.name: generator.normal(size=(rows, *spec.row_shape)).astype(np.float32) for spec in SPECS}


def build(folder: Path, rows: int, shard_rows: int, failed: tuple[int, ...] = ()) -> tuple[Path, dict[str, np.ndarray]]:
    values = features(rows)
    out = write_store(folder, values, shard_rows, failed, {"patch_grid": [9, 9]}, dtype="float16")
    return out, values


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(0, 70), shard_rows=st.sampled_from([1, 7, 16, 64, 128]))
def test_every_row_equals_what_zarr_reads(tmp_path_factory: pytest.TempPathFactory, rows: int, shard_rows: int) -> None:
    out, values = build(tmp_path_factory.mktemp("store"), rows, shard_rows)
    store = FeatureStore.open(out)
    group = zarr.open_group(str(out), mode="r")
    for name in ("cls", "grid"):
        expected = values[name].astype(np.float16)
        np.testing.assert_array_equal(store.read(name, store.ids), expected)
        np.testing.assert_array_equal(np.asarray(group[name][:]), expected)
        assert store.array(name).mapped
    assert np.asarray(group["valid"][:]).tolist() == [True] * rows


def test_rows_come_by_id_in_the_order_asked_for(tmp_path: Path) -> None:
    out, values = build(tmp_path, 40, 16)
    got = FeatureStore.open(out).read("cls", ["id33", "id0", "id17", "id33"])
    np.testing.assert_array_equal(got, values["cls"].astype(np.float16)[[33, 0, 17, 33]])


def test_missing_ids_are_counted_and_named(tmp_path: Path) -> None:
    out, _ = build(tmp_path, 5, 4)
    with pytest.raises(MissingRows, match="lacks 1 of 2 requested ids, the first 'nobody'"):
        FeatureStore.open(out).read("cls", ["id1", "nobody"])


def test_failed_samples_keep_their_slot_and_are_never_served(tmp_path: Path) -> None:
    out, values = build(tmp_path, 10, 4, failed=(3, 8))
    store = FeatureStore.open(out)
    assert store.valid.tolist() == [row not in (3, 8) for row in range(10)]
    assert store.reasons == {"id3": "unreadable", "id8": "unreadable"}
    np.testing.assert_array_equal(store.read("cls", ["id9"]), values["cls"].astype(np.float16)[[9]])
    with pytest.raises(MissingRows, match="the first 'id8': unreadable"):
        store.read("cls", ["id1", "id8"])
    assert np.isnan(zarr.open_group(str(out), mode="r")["cls"][3]).all()


def test_another_fingerprint_is_refused_field_by_field(tmp_path: Path) -> None:
    out, _ = build(tmp_path, 3, 4)
    wanted = Fingerprint({"weights": "abc", "resolution": 224}).as_dict()
    with pytest.raises(FingerprintMismatch, match="resolution: found 126, expected 224") as caught:
        FeatureStore.open(out, expect=wanted)
    assert "weights" not in str(caught.value)
    assert FeatureStore.open(out, expect=FINGERPRINT.as_dict()).fingerprint["digest"] == FINGERPRINT.digest


def test_descriptions_do_not_change_the_digest() -> None:
    assert Fingerprint({"a": 1}, {"torch": "1"}).digest == Fingerprint({"a": 1}, {"torch": "2"}).digest


def test_a_missing_shard_is_an_error_and_not_a_fill_value(tmp_path: Path) -> None:
    out, _ = build(tmp_path, 40, 16)
    (out / shard_path("grid", 1, 2)).unlink()
    with pytest.raises(StoreError, match=r"grid/c/1/0/0 is missing: the store is incomplete"):
        FeatureStore.open(out).read("grid", ["id1"])


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No feature store at"):
        FeatureStore.open(tmp_path / "nothing")


def test_a_foreign_group_is_refused(tmp_path: Path) -> None:
    out, _ = build(tmp_path, 3, 4)
    metadata = json.loads((out / "zarr.json").read_text())
    del metadata["attributes"]["fingerprint"]
    (out / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(StoreError, match=r"zarr.json differs from what was written"):
        FeatureStore.open(out)
    (out / "manifest.json").unlink()
    with pytest.raises(StoreError, match="is not a feature store of this project"):
        FeatureStore.open(out)


def test_compressed_shards_are_read_through_zarr(tmp_path: Path) -> None:
    out, values = build(tmp_path, 20, 8)
    group = zarr.open_group(str(out), mode="r+")
    group.create_array(
        "cls", shape=(20, 2, 5), dtype="float16", chunks=(4, 2, 5), shards=(8, 2, 5), compressors="auto", overwrite=True
    )[:] = values["cls"].astype(np.float16)
    (out / "manifest.json").unlink()
    store = FeatureStore.open(out)
    assert not store.array("cls").mapped
    np.testing.assert_array_equal(store.read("cls", ["id19", "id2"]), values["cls"].astype(np.float16)[[19, 2]])


def test_an_array_that_the_tier_does_not_keep(tmp_path: Path) -> None:
    out, _ = build(tmp_path, 3, 4)
    with pytest.raises(StoreError, match="holds cls, grid, not 'patch'"):
        FeatureStore.open(out).read("patch", ["id0"])


def test_overflow_of_float16_stops_the_run(tmp_path: Path) -> None:
    values = features(2)
    values["cls"][1, 0, 0] = 1e6
    with (
        ShardWriter(tmp_path, SPECS, ["a", "b"], 4) as writer,
        pytest.raises(StoreError, match="magnitude 1e\\+06 does not fit float16.*dtype: float32"),
    ):
        writer.append(values, [None, None])
    assert not list(tmp_path.iterdir())


def test_an_unfinished_shard_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="3 ids got 2 rows"),
        ShardWriter(tmp_path, SPECS, ["a", "b", "c"], 4) as writer,
    ):
        writer.append(features(2), [None, None])
        writer.finish()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_of_a_shard_is_removed_with_it_alone(tmp_path: Path) -> None:
    for ids in (["a", "b"], ["c", "d"]):
        ShardWriter(tmp_path, SPECS, ids, 4).__enter__()  # and killed
    assert len(list(tmp_path.glob("*.partial/*/cls"))) == 2
    with ShardWriter(tmp_path, SPECS, ["a", "b"], 4) as writer:
        writer.append(features(2), [None, None])
        shard = writer.finish()
    (left,) = tmp_path.glob("*.partial")
    assert left.name != f"{shard.record.key}.partial"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([left.name, shard.record.key])


def test_a_run_that_was_killed_as_a_shard_was_whole_leaves_nothing_behind_a_store(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "scratch", SPECS, ["a", "b"], 4) as writer:
        writer.append(features(2), [None, None])
        shard = writer.finish()
    (tmp_path / "scratch" / f"{shard.record.key}.partial").mkdir()  # as between the two last steps
    publish(tmp_path / "store", FINGERPRINT, SPECS, [shard], 4, {})
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [shard.record.key]


@pytest.mark.parametrize("group", [3, 4, 1 << 20])
def test_a_row_list_has_the_same_bytes_in_any_pieces(
    group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.features.shards._ROW_GROUP", group)
    ids, reasons = [f"id{row}" for row in range(11)], [None, "unreadable"] * 5 + [None]
    whole = row_list(ids, reasons)
    for cuts in ([], [1, 2, 9], [5]):
        pieces = [whole.slice(a, b - a) for a, b in itertools.pairwise([0, *cuts, 11])]
        write_rows(iter(pieces), tmp_path / f"{len(cuts)}.parquet")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert read_parquet(tmp_path / "0.parquet").equals(whole)
    write_rows([], tmp_path / "none.parquet")
    assert read_parquet(tmp_path / "none.parquet").schema.names == ["id", "reason"]


def test_shards_are_published_beside_the_writing_of_the_next(tmp_path: Path) -> None:
    held = Event()
    with ThreadPoolExecutor(1) as beside:
        beside.submit(held.wait)
        finished = []
        for ids in (["a", "b"], ["c", "d"]):
            with ShardWriter(tmp_path, SPECS, ids, 4) as writer:
                writer.append(features(2), [None, None])
                finished.append(writer.finish_in_background(beside))
        assert not any(shard.done() for shard in finished)
        held.set()
        assert [shard.result().rows()[0] for shard in finished] == [["a", "b"], ["c", "d"]]
    assert all(ScratchShard.find(shard.result().folder) for shard in finished)


def test_an_error_beside_the_writing_comes_with_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with ThreadPoolExecutor(1) as beside, ShardWriter(tmp_path, SPECS, ["a", "b"], 4) as writer:
        writer.append(features(2), [None, None])
        monkeypatch.setattr("os.fsync", full)
        shard = writer.finish_in_background(beside)
        with pytest.raises(OSError, match="No space"):
            shard.result()
    assert not list(tmp_path.iterdir())


def test_keys_tell_apart_where_one_id_ends() -> None:
    lists = (["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["abd"], [])
    keys = [shard_key(ids, 4) for ids in lists]
    assert len({*keys, shard_key(["abc"], 8)}) == 7


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    first, _ = build(tmp_path / "a", 20, 8)
    second, _ = build(tmp_path / "b", 20, 8)
    for path in sorted(p for p in first.rglob("*") if p.is_file()):
        assert path.read_bytes() == (second / path.relative_to(first)).read_bytes()


def test_store_and_scratch_share_their_bytes(tmp_path: Path) -> None:
    out, _ = build(tmp_path, 20, 8)
    shard = out / shard_path("cls", 0, 2)
    assert shard.stat().st_nlink == 2
