"""Servers and networks on a bad day: what passes is tried again, what stays is told with its address."""

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import obstore
import pytest

from pipeline.errors import FingerprintMismatch, PermafrostError, RemoteError, StoreError
from pipeline.features import FeatureStore, Fingerprint
from pipeline.features.manifest import MANIFEST
from pipeline.features.objects import bucket as bucket_module
from pipeline.features.objects import push as push_module
from pipeline.features.objects.bucket import TIMEOUT_VARIABLE
from pipeline.features.objects.check import verify_remote
from pipeline.features.objects.push import push
from tests.features.stores import flip, normal, write_store
from tests.objects.conftest import client, objects
from tests.objects.faulty import Asked, Fault, Faulty

ROOT = Path(__file__).resolve().parents[2]
VALUES = normal(64, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_store(tmp_path, {"cls": VALUES}, 16)


@pytest.mark.parametrize("fault", ["500", "503", "cut", "slow", "short"])
def test_an_answer_that_fails_twice_is_asked_for_again(
    fault: Fault, address: str, faulty: Faulty, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(folder, f"{address}/a/emoji")
    if fault == "slow":
        monkeypatch.setenv(TIMEOUT_VARIABLE, "0.3")
    faulty.times(fault, 2, methods="GET")
    store = FeatureStore.open(f"{address}/a/emoji")
    np.testing.assert_array_equal(store.array("cls").read_range(0, 64), VALUES)
    assert len(faulty.shards()) >= 3 * 4


@pytest.mark.parametrize("fault", ["500", "503", "cut"])
def test_a_push_goes_on_through_failures(fault: Fault, address: str, faulty: Faulty, folder: Path) -> None:
    faulty.times(fault, 2)
    push(folder, f"{address}/a/emoji")
    faulty.times(fault, 0)
    assert verify_remote(f"{address}/a/emoji").intact
    np.testing.assert_array_equal(FeatureStore.open(f"{address}/a/emoji").array("cls").read_range(0, 64), VALUES)


@pytest.mark.parametrize("fault", ["500", "cut", "slow"])
def test_a_read_that_keeps_failing_names_the_object_what_was_expected_and_what_helps(
    fault: Fault, address: str, faulty: Faulty, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(folder, f"{address}/a/emoji")
    store = FeatureStore.open(f"{address}/a/emoji")
    monkeypatch.setattr(bucket_module, "ATTEMPTS", 2)
    monkeypatch.setattr("pipeline.features.objects.shards.ATTEMPTS", 2)
    if fault == "slow":
        monkeypatch.setenv(TIMEOUT_VARIABLE, "0.2")
    faulty.times(fault, 10**6, "/cls/c/2")
    with pytest.raises(RemoteError) as raised:
        store.array("cls").read_range(0, 64)
    message = str(raised.value)
    size = (folder / "cls/c/2/0").stat().st_size
    assert f"{address}/a/emoji/cls/c/2/0 could not be read after 2 attempts" in message
    assert f"expected bytes 0 to {size - 1} of {size}" in message
    assert f"AWS_ENDPOINT_URL={faulty.url}" in message
    assert TIMEOUT_VARIABLE in message
    assert isinstance(raised.value, PermafrostError)
    faulty.times(fault, 0)
    np.testing.assert_array_equal(store.array("cls").read_range(0, 64), VALUES)  # the same store goes on


def test_bytes_that_change_on_the_way_are_not_served(address: str, faulty: Faulty, folder: Path) -> None:
    push(folder, f"{address}/a/emoji")
    store = FeatureStore.open(f"{address}/a/emoji")
    faulty.times("flipped", 10**6, "/cls/c/1")
    with pytest.raises(RemoteError, match=r"cls/c/1/0 is damaged, or the store was replaced .*expected XXH3-128"):
        store.array("cls").read_range(0, 64)
    faulty.times("flipped", 2, "/cls/c/1")
    np.testing.assert_array_equal(store.array("cls").read_range(0, 64), VALUES)


def test_no_server_no_bucket_no_store_and_no_right(
    address: str, faulty: Faulty, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreError, match=rf"No feature store at {address}/a/nothing: it has no manifest\.json"):
        FeatureStore.open(f"{address}/a/nothing")
    with pytest.raises(RemoteError, match="NoSuchBucket"):
        push(folder, "s3://no-such-bucket/a/emoji")
    assert len([one for one in faulty.asked if "no-such-bucket" in one.path]) <= 3  # asked once, not six times
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(bucket_module, "ATTEMPTS", 1)
    with pytest.raises(RemoteError, match=r"AWS_ENDPOINT_URL=http://127\.0\.0\.1:9"):
        FeatureStore.open(f"{address}/a/emoji")


@pytest.mark.parametrize("given", ["soon", "0", "-1", "inf", "nan"])
def test_a_time_limit_that_is_none_is_refused(given: str, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TIMEOUT_VARIABLE, given)
    with pytest.raises(RemoteError, match=f"{TIMEOUT_VARIABLE} should be seconds from 0.05 to 86400, found '{given}'"):
        FeatureStore.open(f"{address}/a/emoji")


def test_without_obstore_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(RemoteError, match=r"pip install 'permafrost-align\[objects\]'"):
        FeatureStore.open("gs://bucket/a/emoji")


@pytest.mark.parametrize("last", ["/cls/c/1", "/rows.parquet", "/a/emoji/zarr.json", "/manifest.json"])
def test_a_push_that_fails_at_any_object_leaves_no_store_to_be_seen(
    last: str, address: str, faulty: Faulty, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "ATTEMPTS", 1)
    monkeypatch.setattr(bucket_module.Bucket._tried, "__defaults__", (1, ""))
    faulty.times("500", 10**6, last, methods="PUT")
    with pytest.raises(RemoteError, match="could not be written"):
        push(folder, f"{address}/a/emoji")
    assert f"a/emoji/{MANIFEST}" not in objects(faulty, address)
    with pytest.raises(StoreError, match="No feature store"):
        FeatureStore.open(f"{address}/a/emoji")
    there = objects(faulty, address)
    faulty.times("500", 0)
    faulty.asked.clear()
    push(folder, f"{address}/a/emoji")
    sent = {one.path.partition("/")[2].partition("/")[2] for one in faulty.asked if one.method == "PUT"}
    assert not sent & there  # what had arrived is not sent again
    assert verify_remote(f"{address}/a/emoji").intact


def test_the_manifest_is_written_last_and_the_groups_metadata_before_it(
    address: str, faulty: Faulty, folder: Path
) -> None:
    push(folder, f"{address}/a/emoji")
    put = [one.path.partition("/a/emoji/")[2] for one in faulty.asked if one.method == "PUT"]
    assert put[-2:] == ["zarr.json", MANIFEST]
    assert len(put) == len(set(put))


def test_a_large_object_is_seen_when_its_last_part_has_come(
    address: str, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module.Bucket._tried, "__defaults__", (1, ""))
    values = np.random.default_rng(0).normal(size=(512, 10_000)).astype(np.float16)  # 10 MB, two parts
    folder = write_store(tmp_path, {"cls": values}, 512)

    def fault(asked: Asked, before: int) -> Fault | None:
        del before
        return "500" if asked.method == "POST" and asked.query.startswith("uploadId") else None

    faulty.fault = fault
    with pytest.raises(RemoteError, match="cls/c/0/0 could not be written"):
        push(folder, f"{address}/a/emoji")
    assert "a/emoji/cls/c/0/0" not in objects(faulty, address)
    faulty.times("500", 0)
    push(folder, f"{address}/a/emoji")
    assert any("partNumber=2" in one.query for one in faulty.asked)
    np.testing.assert_array_equal(FeatureStore.open(f"{address}/a/emoji").array("cls").read_range(0, 512), values)


def test_a_push_that_is_killed_leaves_nothing_to_be_seen_and_goes_on_the_next_time(
    address: str, faulty: Faulty, tmp_path: Path
) -> None:
    folder = write_store(tmp_path, {"cls": normal(320, 8)}, 8)
    faulty.delay = 0.05
    faulty.times("slow", 10**6, methods="PUT")
    code = (
        "from pathlib import Path\nfrom pipeline.features.objects.push import push\n"
        f"push(Path({str(folder)!r}), {address!r} + '/a/emoji')"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL) as pushing:
        while len(faulty.shards("PUT")) < 20:
            assert pushing.poll() is None
            time.sleep(0.01)
        pushing.send_signal(signal.SIGKILL)
    faulty.idle()
    faulty.times("slow", 0)
    with pytest.raises(StoreError, match="No feature store"):
        FeatureStore.open(f"{address}/a/emoji")
    there = objects(faulty, address)
    assert 0 < len(there) < 60
    done = push(folder, f"{address}/a/emoji")
    assert done.sent == done.files - len(there)
    assert verify_remote(f"{address}/a/emoji").intact


def test_a_damaged_store_is_not_published(address: str, faulty: Faulty, folder: Path) -> None:
    flip(folder / "cls/c/2/0", 5, 1)
    with pytest.raises(StoreError, match=r"cls/c/2/0 is damaged, so the store is not published. Repair it"):
        push(folder, f"{address}/a/emoji")
    assert f"a/emoji/{MANIFEST}" not in objects(faulty, address)
    with pytest.raises(StoreError, match=r"nowhere is not there"):
        push(folder.parent / "nowhere", f"{address}/a/emoji")


def test_another_store_is_replaced_only_on_demand_and_is_gone_before_the_new_one_comes(
    address: str, faulty: Faulty, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(folder, f"{address}/a/emoji")
    open_ = FeatureStore.open(f"{address}/a/emoji")
    (tmp_path / "rows").mkdir()
    other = write_store(tmp_path / "rows", {"cls": normal(40, 8, seed=1)}, 16)
    with pytest.raises(StoreError, match=r"another store of the same features.*--replace"):
        push(other, f"{address}/a/emoji")
    monkeypatch.setattr("tests.features.stores.FINGERPRINT", Fingerprint({"weights": "new"}))
    (tmp_path / "new").mkdir()
    foreign = write_store(tmp_path / "new", {"cls": normal(40, 8, seed=2)}, 16)
    with pytest.raises(FingerprintMismatch, match="a store of other features"):
        push(foreign, f"{address}/a/emoji")
    assert verify_remote(f"{address}/a/emoji").intact
    faulty.asked.clear()
    push(foreign, f"{address}/a/emoji", replace=True)
    changes = [one for one in faulty.asked if one.method in ("PUT", "DELETE") or "delete" in one.query]
    assert changes[0].method in ("DELETE", "POST")  # the manifest goes first
    assert verify_remote(f"{address}/a/emoji").intact
    assert "a/emoji/cls/c/3/0" not in objects(faulty, address)  # a shard of the old one
    with pytest.raises(RemoteError, match=r"missing|replaced after it was opened|could not be read"):
        open_.array("cls").read_range(0, 64)
    assert len(FeatureStore.open(f"{address}/a/emoji")) == 40


def test_objects_of_others_are_never_removed(address: str, faulty: Faulty, folder: Path) -> None:
    obstore.put(client(faulty, address), "a/emoji/thesis.pdf", b"the only copy")
    with pytest.raises(StoreError, match=r"belong to no store: thesis\.pdf"):
        push(folder, f"{address}/a/emoji", replace=True)
    assert bytes(obstore.get(client(faulty, address), "a/emoji/thesis.pdf").bytes()) == b"the only copy"


def test_two_pushes_of_different_stores_to_one_address_never_publish_a_mixture(
    address: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other = write_store(tmp_path / "other", {"cls": normal(64, 8, seed=9)}, 16)
    send = push_module._send

    def overtaken(*given: object) -> dict[str, str]:
        tags = send(*given)  # type: ignore[arg-type]
        monkeypatch.setattr(push_module, "_send", send)
        push(other, f"{address}/a/emoji")
        return tags

    monkeypatch.setattr(push_module, "_send", overtaken)
    with pytest.raises(RemoteError, match="is not what was sent: another process writes there"):
        push(folder, f"{address}/a/emoji")
    assert verify_remote(f"{address}/a/emoji").intact
    np.testing.assert_array_equal(
        FeatureStore.open(f"{address}/a/emoji").array("cls").read_range(0, 64), normal(64, 8, seed=9)
    )


def test_credentials_stay_out_of_messages_and_logs(
    address: str, faulty: Faulty, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    push(folder, f"{address}/a/emoji")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret-indeed")
    faulty.times("500", 10**6)
    monkeypatch.setattr(bucket_module, "_FIRST_PAUSE", 0.0)
    with caplog.at_level(logging.DEBUG), pytest.raises(RemoteError) as raised:
        FeatureStore.open(f"{address}/a/emoji")
    assert "very-secret-indeed" not in str(raised.value) + caplog.text
