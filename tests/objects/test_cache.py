"""The local cache of shards: bounded, checked, shared by processes."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import xxhash

from pipeline.errors import RemoteError, StoreError
from pipeline.features import FeatureStore
from pipeline.features.manifest import FileRecord
from pipeline.features.objects.cache import LIMIT_VARIABLE, ShardCache, shard_cache
from pipeline.features.objects.push import push
from tests.features.stores import flip, normal, write_store
from tests.objects.faulty import Faulty

ROOT = Path(__file__).resolve().parents[2]


def record(content: bytes) -> FileRecord:
    return FileRecord(len(content), xxhash.xxh3_128_hexdigest(content))


class Source:
    """Downloads of one content, counted."""

    def __init__(self, content: bytes) -> None:
        self.content, self.record, self.downloads = content, record(content), 0

    def __call__(self, descriptor: int) -> None:
        self.downloads += 1
        os.pwrite(descriptor, self.content, 0)


def read(cache: ShardCache, source: Source) -> bytes:
    descriptor = cache.opened(source.record, source, "s3://b/x")
    try:
        return os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def held(cache: ShardCache) -> int:
    return sum(path.stat().st_size for path in cache.folder.iterdir() if path.name != "lock")


def test_a_file_is_downloaded_once_also_for_another_cache_object(tmp_path: Path) -> None:
    source = Source(b"some rows")
    for cache in (ShardCache(tmp_path / "shards", 100), ShardCache(tmp_path / "shards", 100)):
        assert [read(cache, source) for _ in range(3)] == [b"some rows"] * 3
    assert source.downloads == 1
    assert read(cache, Source(b"")) == b""


def test_what_was_used_longest_ago_goes_first_and_the_bound_holds(tmp_path: Path) -> None:
    cache = ShardCache(tmp_path / "shards", 30)
    first, second, third, fourth = (Source(bytes([k]) * 10) for k in range(4))
    for source in (first, second, third, first, fourth):
        read(cache, source)
        assert held(cache) <= 30
    read(cache, first)
    assert first.downloads == 1
    read(cache, second)
    assert second.downloads == 2
    assert held(cache) == 30


def test_a_file_larger_than_the_cache_is_refused_with_the_variable_to_raise(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=rf"s3://b/x has .* may hold .*raise {LIMIT_VARIABLE}"):
        read(ShardCache(tmp_path / "shards", 5), Source(b"more than five"))


@pytest.mark.parametrize("given", ["much", "0", "-3", "nan", "inf"])
def test_a_bound_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT_VARIABLE, given)
    with pytest.raises(StoreError, match=f"{LIMIT_VARIABLE} should be megabytes above 0, found '{given}'"):
        shard_cache()


def test_a_file_that_was_damaged_on_the_disk_is_downloaded_again(tmp_path: Path) -> None:
    source = Source(b"some rows")
    for spoil in (lambda path: flip(path, 3, 2), lambda path: os.truncate(path, 4)):
        cache = ShardCache(tmp_path / "shards", 100)
        read(cache, source)
        path = cache.path(source.record)
        path.chmod(0o644)
        spoil(path)
        before = source.downloads
        assert (
            read(ShardCache(tmp_path / "shards", 100), source) == b"some rows"
        )  # another process has not seen it well
        assert source.downloads == before + 1


def test_a_link_in_the_place_of_a_file_is_refused_and_not_followed(tmp_path: Path) -> None:
    source, cache = Source(b"some rows"), ShardCache(tmp_path / "shards", 100)
    cache.folder.mkdir()
    (tmp_path / "elsewhere").write_bytes(b"some rows")
    cache.path(source.record).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="is a link"):
        read(cache, source)


def test_a_download_that_fails_leaves_nothing_and_its_room_is_free(tmp_path: Path) -> None:
    cache, source = ShardCache(tmp_path / "shards", 20), Source(b"x" * 20)

    def fails(descriptor: int) -> None:
        os.pwrite(descriptor, b"half", 0)
        raise RemoteError("no answer")

    with pytest.raises(RemoteError, match="no answer"):
        cache.opened(source.record, fails, "s3://b/x")
    assert held(cache) == 0
    with pytest.raises(RemoteError, match="expected XXH3-128"):
        cache.opened(source.record, lambda _: None, "s3://b/x")
    assert held(cache) == 0
    assert read(cache, source) == source.content


def test_what_a_killed_process_left_is_taken_away(tmp_path: Path) -> None:
    cache, source = ShardCache(tmp_path / "shards", 20), Source(b"x" * 20)
    cache.folder.mkdir()
    for name in (f"{cache.path(source.record).name}.partial", "0123-20.partial"):
        (cache.folder / name).write_bytes(b"y" * 20)
    assert read(cache, source) == source.content
    assert held(cache) == 20


def test_two_threads_wait_for_one_download(tmp_path: Path) -> None:
    cache, source = ShardCache(tmp_path / "shards", 100), Source(b"some rows")
    begun, go_on = threading.Event(), threading.Event()

    def slow(descriptor: int) -> None:
        begun.set()
        assert go_on.wait(30)
        source(descriptor)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.opened, source.record, slow, "s3://b/x")
        assert begun.wait(30)
        second = pool.submit(read, cache, source)
        go_on.set()
        os.close(first.result())
        assert second.result() == b"some rows"
    assert source.downloads == 1


@contextmanager
def watched(folder: Path) -> Iterator[list[int]]:
    """The most bytes that a folder held meanwhile, looked at again and again."""
    most, ended = [0], threading.Event()

    def look() -> None:
        while not ended.is_set():
            sizes = []
            for path in folder.glob("*"):
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue
            most[0] = max(most[0], sum(sizes))
            time.sleep(0.001)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        ended.set()
        thread.join()


READER = """
import sys
import numpy as np
from pipeline.features import FeatureStore
from tests.features.stores import normal
array = FeatureStore.open(sys.argv[1]).array("cls")
want = normal(400, 50)
for seed in range(2):
    for start in range(0, 400, 100):
        assert (array.read_range(start, start + 100) == want[start : start + 100]).all()
    rows = np.random.default_rng(seed).integers(0, 400, 60)
    assert (array.take(rows) == want[rows]).all()
print("well")
"""


@pytest.mark.parametrize("shards", [3, 100], ids=["tight", "roomy"])
def test_two_processes_read_at_once_within_one_bound(
    shards: int, address: str, faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_store(tmp_path, {"cls": normal(400, 50)}, 40)
    push(folder, f"{address}/a/emoji")
    size = (folder / "cls/c/0/0").stat().st_size
    limit = shards * size + 100
    monkeypatch.setenv(LIMIT_VARIABLE, str(limit / 1e6))
    cache = shard_cache().folder
    with watched(cache) as most:
        readers = [
            subprocess.Popen([sys.executable, "-c", READER, f"{address}/a/emoji"], cwd=ROOT, stdout=subprocess.PIPE)
            for _ in range(2)
        ]
        assert [reader.communicate(timeout=120)[0] for reader in readers] == [b"well\n"] * 2
    assert 0 < most[0] <= limit
    assert not [*cache.glob("*.partial")]
    if shards == 100:
        assert sorted(faulty.shards()) == sorted(set(faulty.shards()))  # what one has fetched the other uses


def test_a_cache_of_one_shard_is_enough(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = normal(100, 50)
    folder = write_store(tmp_path, {"cls": values}, 20)
    push(folder, f"{address}/a/emoji")
    size = (folder / "cls/c/0/0").stat().st_size
    monkeypatch.setenv(LIMIT_VARIABLE, str(size / 1e6))
    store = FeatureStore.open(f"{address}/a/emoji")
    np.testing.assert_array_equal(store.array("cls").take(np.arange(99, -1, -1)), values[::-1])
    assert sum(path.stat().st_size for path in shard_cache().folder.iterdir()) <= size


def test_equal_shards_of_two_stores_are_kept_once(address: str, faulty: Faulty, tmp_path: Path) -> None:
    folder = write_store(tmp_path, {"cls": normal(40, 8)}, 20)
    for name in ("one", "two"):
        push(folder, f"{address}/a/{name}")
        FeatureStore.open(f"{address}/a/{name}").array("cls").read_range(0, 40)
    assert len(faulty.shards()) == 2


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, source = ShardCache(tmp_path / "shards", 100), Source(b"some rows")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.features.objects.cache._reserve", full)
        with pytest.raises(StoreError, match="No space is left on the disk"):
            read(cache, source)
    assert held(cache) == 0
    assert read(cache, source) == b"some rows"
