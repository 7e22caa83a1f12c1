"""Faults of an encode and its store: each is reported clearly, and nothing is lost."""

import errno
import json
import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks import faults
from pipeline.encoding.remembered import LAYOUT, recall, remember
from pipeline.encoding.run import StoreEncoder
from pipeline.encoding.shard_encoder import ShardEncoder
from pipeline.errors import StoreError
from pipeline.features import FeatureStore
from pipeline.features.scratch import _warn_of_copies
from pipeline.features.shards import RECORD, ScratchShard
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from pipeline.store.repair import rewrite


@pytest.fixture(autouse=True)
def keep_work_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, "")  # so that what the benchmark sets is taken back


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that the synthetic store does not fit on twice, and that has no room for all its shards."""
    folder = tmp_path / "disk"
    folder.mkdir()
    tool = shutil.which("mount")
    if tool is None or subprocess.run([tool, "-t", "tmpfs", "-o", "size=96k", "tmpfs", folder], check=False).returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_killed_encodes_end_in_the_same_bytes(tmp_path: Path) -> None:
    found = faults.kills(tmp_path, 6, np.random.default_rng(3))
    assert found["kills"] == 6


def test_flipped_bits_are_found_and_repaired(tmp_path: Path) -> None:
    found = faults.flips(tmp_path, 30, np.random.default_rng(3))
    assert found["files_hit"] == found["files"], "every file was hit once"


def test_a_full_disk_is_explained_and_finished_shards_are_kept(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.encoding.run.require_space", lambda *_: None)  # others fill the disk meanwhile
    filler = small_disk / "filler"
    filler.write_bytes(bytes(48 << 10))
    with pytest.raises(StoreError, match=r"No space is left on the disk(?s:.*)continues from them"):
        faults.encode(small_disk)
    assert not (small_disk / "store").exists()
    assert not list(small_disk.rglob("*.partial"))
    kept = len(list(small_disk.glob("work/scratch/*/*/shard.json")))
    assert kept
    filler.unlink()
    shutil.copytree(small_disk / "work", tmp_path / "room" / "work")
    assert faults.encode(tmp_path / "room").reused_shards == kept
    faults.encode(tmp_path / "other")
    assert faults.contents(tmp_path / "room" / "store") == faults.contents(tmp_path / "other" / "store")


def test_a_disk_that_is_full_only_for_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: StoreEncoder) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(StoreEncoder, "_write_journal", full)
        with pytest.raises(StoreError, match=r"No space is left on the disk(?s:.*)continues from them"):
            faults.encode(tmp_path)
    assert faults.encode(tmp_path).encoded == 0


def test_every_bit_of_the_remembered_layout_is_checked(tmp_path: Path) -> None:
    """A layout is made again rather than trusted, also one from before there were checksums; no row is encoded."""
    faults.encode(tmp_path)
    expected = faults.contents(tmp_path / "store")
    (path,) = tmp_path.rglob(LAYOUT)
    sealed = path.read_bytes()
    stored = recall(path.parent)
    assert stored is not None
    for byte in range(len(sealed)):
        for bit in range(8):
            path.write_bytes(sealed[:byte] + bytes([sealed[byte] ^ (1 << bit)]) + sealed[byte + 1 :])
            assert recall(path.parent) is None, (byte, bit)
    for content in (sealed.replace(b"24", b"12"), json.dumps(stored).encode(), b"", sealed[:-9]):
        path.write_bytes(content)
        assert faults.encode(tmp_path).encoded == 0
        assert path.read_bytes() == sealed
        assert faults.contents(tmp_path / "store") == expected


def test_an_intact_layout_spares_loading_the_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.encode(tmp_path)
    monkeypatch.setattr(ShardEncoder, "_row_encoder", None)
    faults.encode(tmp_path)


def test_the_order_of_notes_is_kept(tmp_path: Path) -> None:
    """They are attributes of the store, whose bytes must not depend on whether the layout was read or made."""
    remember(tmp_path, {"notes": {"patch_grid": [2, 2], "a": 1}})
    stored = recall(tmp_path)
    assert stored is not None
    assert list(stored["notes"]) == ["patch_grid", "a"]


def test_a_damaged_list_of_ids_makes_its_shard_unknown(tmp_path: Path) -> None:
    faults.encode(tmp_path)
    expected = faults.contents(tmp_path / "store")
    path = sorted(tmp_path.glob("work/scratch/*/*/rows.parquet"))[0]
    faults.flip(path, path.stat().st_size // 3, 2)
    assert ScratchShard.find(path.parent) is None
    done = rewrite(tmp_path / "store", lambda: faults.encode(tmp_path))
    assert done.scratch == (path.parent.name,)
    assert faults.contents(tmp_path / "store") == expected
    assert ScratchShard.find(path.parent) is not None


def test_records_from_before_ids_were_summed_are_read(tmp_path: Path) -> None:
    faults.encode(tmp_path)
    expected = faults.contents(tmp_path / "store")
    for path in tmp_path.glob(f"work/scratch/*/*/{RECORD}"):
        record = json.loads(path.read_text())
        del record["rows_xxh3_128"]
        path.write_text(json.dumps(record))
    assert faults.encode(tmp_path).encoded == 0
    assert faults.contents(tmp_path / "store") == expected
    assert not rewrite(tmp_path / "store", lambda: None).needed


def test_scratch_on_another_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    link = os.link

    def refuse(source: Path, target: Path) -> None:
        if "scratch" in Path(source).parts:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    faults.encode(tmp_path / "linked")
    monkeypatch.setattr(os, "link", refuse)
    _warn_of_copies.cache_clear()
    with caplog.at_level(logging.WARNING):
        faults.encode(tmp_path / "copied")
    assert caplog.text.count(f"{WORK_VARIABLE}=FOLDER") == 1
    assert faults.contents(tmp_path / "copied" / "store") == faults.contents(tmp_path / "linked" / "store")
    assert verify(tmp_path / "copied" / "store").intact


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL])
def test_a_file_system_without_hard_links(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As exFAT, some network shares and some containers have none: also libraries must do without them."""
    faults.encode(tmp_path / "linked")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    _warn_of_copies.cache_clear()
    with caplog.at_level(logging.WARNING):
        done = faults.encode(tmp_path / "copied")
    assert done.encoded == done.rows == 90
    assert caplog.text.count("their file system has no hard links, so shards are stored twice") == 1
    assert faults.contents(tmp_path / "copied" / "store") == faults.contents(tmp_path / "linked" / "store")
    faults.flip(tmp_path / "copied" / "store" / "cls" / "c" / "0" / "0" / "0", 5, 5)
    mended = rewrite(tmp_path / "copied" / "store", lambda: faults.encode(tmp_path / "copied"))
    assert mended.scratch == (), "the copy in scratch was intact"
    assert verify(tmp_path / "copied" / "store").intact


def test_a_foreign_file_is_named_and_not_deleted(tmp_path: Path) -> None:
    faults.encode(tmp_path)
    mine = tmp_path / "store" / "cls" / "notes.txt"
    mine.write_text("mine")
    with pytest.raises(StoreError, match=r"files that do not belong to it: cls/notes\.txt\. Move them"):
        rewrite(tmp_path / "store", lambda: faults.encode(tmp_path))
    assert mine.read_text() == "mine"


def test_missing_and_cut_shards_are_repaired(tmp_path: Path) -> None:
    faults.encode(tmp_path)
    store = tmp_path / "store"
    expected = faults.contents(store)
    (store / "cls" / "c" / "0" / "0" / "0").unlink()
    with open(store / "grid" / "c" / "2" / "0" / "0", "r+b") as file:
        file.truncate(100)
    with pytest.raises(StoreError, match=r"cls/c/0/0/0 is missing: the store is incomplete"):
        FeatureStore.open(store).read("cls", ["id0"])
    done = rewrite(store, lambda: faults.encode(tmp_path))
    assert [str(damage) for damage in done.damages] == [
        "cls/c/0/0/0: missing (shard 0, rows 0 to 15), 16 ids: id0 to id15",
        "grid/c/2/0/0: changed (shard 2, rows 32 to 47), 16 ids: id32 to id47",
    ]
    assert len(done.scratch) == 1, "scratch still had what was only removed from the store"
    assert done.same_bytes
    assert faults.contents(store) == expected


def test_other_bytes_are_said_to_be_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.encode(tmp_path)
    store = tmp_path / "store"
    faults.flip(store / "cls" / "c" / "0" / "0" / "0", 5, 5)
    monkeypatch.setattr(np, "sin", np.cos)  # another machine
    assert rewrite(store, lambda: faults.encode(tmp_path)).same_bytes is False
    assert verify(store).intact
