"""Several processes at one store: parts of it, the whole of it, two stores of the same features."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from pipeline.encoding.parts import Part
from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import Batch
from pipeline.encoding.run import EncodeSummary, StoreEncoder
from pipeline.errors import ConfigError, SourceError
from pipeline.features import FeatureStore
from pipeline.features.claims import SUFFIX, Claim
from pipeline.features.publish import publish
from pipeline.features.scratch import scratch_folder
from pipeline.features.shards import RECORD, ScratchShard, ShardWriter, shard_key
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from pipeline.store.collect import collect_scratch
from tests.encoding.test_run import FINGERPRINT, Counting, contents

ROWS, SHARD_ROWS = 30, 4  # eight shards, the last of two rows
SHARDS = 8


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path / "work"


class Slow(Counting):
    """Takes its time, so that others are at work meanwhile, and says when it begins a shard."""

    def __init__(self, pause: float, said: Connection) -> None:
        super().__init__()
        self._pause, self._said = pause, said

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        self._said.send("encoding")
        for batch in super().encode(ids):
            time.sleep(self._pause)
            yield batch


def encode(
    out: Path, part: str | None = None, encoder: Counting | None = None, rate: float = 0.0, first: int = 0
) -> EncodeSummary:
    plan = Plan(tuple(str(n) for n in range(first, first + ROWS)), SHARD_ROWS)
    job = StoreEncoder("toy", FINGERPRINT, lambda: encoder or Counting(), rate)
    return job.run(plan, out, part=None if part is None else Part.parse(part))


class Other:
    """Another process that encodes."""

    def __init__(self, out: Path, part: str | None, pause: float, first: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])  # or each imports everything anew
        self._said, theirs = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_encode, args=(theirs, os.environ[WORK_VARIABLE], out, part, pause, first)
        )
        self._process.start()
        theirs.close()

    def begins_a_shard(self) -> None:
        """Wait until it does."""
        assert self._said.recv() == "encoding"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.join()
        assert self._process.exitcode == -signal.SIGKILL

    def ended(self) -> tuple[int, bool]:
        """How many rows it has encoded, and whether it saw the store published."""
        while isinstance(said := self._said.recv(), str):
            assert said == "encoding"
        self._process.join()
        return said  # type: ignore[no-any-return]

    def stop(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.join()


def _encode(said: Connection, work: str, out: Path, part: str | None, pause: float, first: int) -> None:
    os.environ[WORK_VARIABLE] = work
    done = encode(out, part, Slow(pause, said), first=first)
    said.send((done.encoded, done.published))


@contextmanager
def started(out: Path, part: str | None, pause: float = 0.0, first: int = 0) -> Iterator[Other]:
    """Another process that encodes meanwhile."""
    other = Other(out, part, pause, first)
    try:
        yield other
    finally:
        other.stop()


def files(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in sorted(store.rglob("*")) if p.is_file()}


@pytest.fixture
def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The store as one process alone writes it."""
    with monkeypatch.context() as patched:
        patched.setenv(WORK_VARIABLE, str(tmp_path / "alone"))
        encode(tmp_path / "alone" / "store")
    return files(tmp_path / "alone" / "store")


def leftovers(work: Path) -> list[str]:
    return sorted(p.name for p in work.rglob("*") if p.name.endswith((SUFFIX, ".partial")))


@pytest.mark.parametrize("written", ["0/3", "4/3", "a/b", "3", "1/", "/3", "1/3/5", "-1/3", "1.5/3", "1/3 ", "٣/٤", 7])
def test_what_is_no_part_is_refused(written: object) -> None:
    with pytest.raises(ConfigError, match=r"is no part(?s:.*)\+part=3/64"):
        Part.parse(written)


@pytest.mark.parametrize("of", [1, 2, 3, 8, 11])
@pytest.mark.parametrize("shards", [0, 1, 8, 9])
def test_every_shard_is_in_one_part_and_parts_are_even(of: int, shards: int) -> None:
    parts = [Part(number, of) for number in range(1, of + 1)]
    numbers = [tuple(part.numbers(shards)) for part in parts]
    assert sorted(itertools.chain(*numbers)) == list(range(shards))
    assert max(map(len, numbers)) - min(map(len, numbers)) <= 1
    assert all(part.of_shard(number) == part for part, own in zip(parts, numbers, strict=True) for number in own)


@pytest.mark.parametrize("order", list(itertools.permutations((1, 2, 3))))
def test_parts_in_any_order_make_the_same_store_and_the_last_publishes_it(
    order: tuple[int, ...], tmp_path: Path, work: Path, expected: dict[str, bytes]
) -> None:
    for number in order:
        assert not (tmp_path / "store").exists()
        done = encode(tmp_path / "store", f"{number}/3")
        assert done.encoded == done.rows == sum(min(SHARD_ROWS, ROWS - 4 * s) for s in range(number - 1, SHARDS, 3))
        assert done.published == (number == order[-1])
    assert files(tmp_path / "store") == expected
    assert leftovers(work) == []


def test_parts_at_once_make_the_same_store(tmp_path: Path, work: Path, expected: dict[str, bytes]) -> None:
    with ExitStack() as stack:
        processes = [stack.enter_context(started(tmp_path / "store", f"{n}/3", 0.05)) for n in (3, 1, 2)]
        found = [process.ended() for process in processes]
    assert [encoded for encoded, _ in found] == [8, 12, 10]
    assert any(published for _, published in found)
    assert files(tmp_path / "store") == expected
    assert verify(tmp_path / "store").intact
    assert leftovers(work) == []


def test_a_killed_part_is_finished_by_the_same_command(tmp_path: Path, work: Path, expected: dict[str, bytes]) -> None:
    encode(tmp_path / "store", "1/2")
    with started(tmp_path / "store", "2/2", 0.5) as process:
        while len(list(scratch_folder(FINGERPRINT.digest).glob(f"*/{RECORD}"))) < 5:
            time.sleep(0.01)
        process.kill()
    assert not (tmp_path / "store").exists()
    assert 0 < encode(tmp_path / "store", "2/2").encoded < 14
    assert files(tmp_path / "store") == expected
    assert [name for name in leftovers(work) if name.endswith(".partial")] == []


def test_the_same_part_twice_at_once(tmp_path: Path, work: Path, expected: dict[str, bytes]) -> None:
    """They share its shards; who finds none free waits for the other one."""
    encode(tmp_path / "store", "2/2")
    with started(tmp_path / "store", "1/2", 0.2) as one, started(tmp_path / "store", "1/2", 0.2) as two:
        found = [one.ended(), two.ended()]
    assert sum(encoded for encoded, _ in found) == 16, "no row was encoded twice"
    assert [published for _, published in found] == [True, True]
    assert files(tmp_path / "store") == expected
    assert leftovers(work) == []


def test_two_whole_encodes_of_one_store_share_the_work(tmp_path: Path, expected: dict[str, bytes]) -> None:
    with started(tmp_path / "store", None, 0.2) as one, started(tmp_path / "store", None, 0.2) as two:
        assert one.ended()[0] + two.ended()[0] == ROWS
    assert files(tmp_path / "store") == expected


def test_two_stores_of_the_same_features_at_once(tmp_path: Path) -> None:
    """Two data sets through one view."""
    with started(tmp_path / "a", None, 0.1) as one, started(tmp_path / "b", None, 0.1, first=100) as two:
        assert [one.ended(), two.ended()] == [(ROWS, True), (ROWS, True)]
    assert contents(tmp_path / "a") == {str(n): float(n) for n in range(ROWS)}
    assert contents(tmp_path / "b") == {str(n): float(n) for n in range(100, 100 + ROWS)}


def test_a_shard_whose_writer_is_killed_is_written_by_who_waits_for_it(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    with started(tmp_path / "store", "1/8", 60.0) as stuck:
        stuck.begins_a_shard()
        with started(tmp_path / "store", None) as other:
            for _ in range(SHARDS - 1):
                other.begins_a_shard()
            assert not (tmp_path / "store").exists()
            stuck.kill()
            assert other.ended()[0] == ROWS
    assert files(tmp_path / "store") == expected


def test_a_part_whose_shards_are_cached_runs_no_backbone(tmp_path: Path, expected: dict[str, bytes]) -> None:
    encode(tmp_path / "store", "1/2")
    encode(tmp_path / "store", "2/2")

    def refuse() -> Counting:
        raise AssertionError("the backbone was loaded")

    plan = Plan(tuple(map(str, range(ROWS))), SHARD_ROWS)
    for part in (Part(1, 2), Part(40, 64)):  # the second has no shards
        done = StoreEncoder("toy", FINGERPRINT, refuse, 0.0).run(plan, tmp_path / "store", part=part)
        assert (done.encoded, done.published) == (0, True)
    assert files(tmp_path / "store") == expected


def test_a_store_is_published_once_and_again_if_a_file_of_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = []

    def counted(*arguments: object) -> None:
        count.append(1)
        publish(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.encoding.run.publish", counted)
    for part in ("1/2", "2/2", "1/2", "2/2"):
        encode(tmp_path / "store", part)
    assert len(count) == 1
    (tmp_path / "store" / "cls" / "c" / "0" / "0" / "0").unlink()
    assert encode(tmp_path / "store", "1/2").published
    assert len(count) == 2
    assert verify(tmp_path / "store").intact


def test_killed_while_publishing_any_part_publishes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes]
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    encode(tmp_path / "store", "1/2")
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("pipeline.features.publish.write_manifest", kill)
        encode(tmp_path / "store", "2/2")
    assert not (tmp_path / "store").exists()
    assert encode(tmp_path / "store", "1/2").published
    assert files(tmp_path / "store") == expected


def test_failures_of_all_parts_are_counted_before_the_store_is_made(tmp_path: Path) -> None:
    """Each part may fail in as many rows as the whole store; together they must not."""
    broken = Counting(broken=["0", "4"])
    encode(tmp_path / "store", "1/2", broken, rate=0.05)
    with pytest.raises(
        SourceError, match=r"2 of 30 samples could not(?s:.*)  broken\n(?s:.*)delete the shards"
    ) as told:
        encode(tmp_path / "store", "2/2", broken, rate=0.05)
    assert not (tmp_path / "store").exists()
    for number in (0, 1):
        key = shard_key([str(4 * number + n) for n in range(4)], SHARD_ROWS)
        assert str(scratch_folder(FINGERPRINT.digest) / key) in str(told.value)
    encode(tmp_path / "store", "2/2", broken, rate=0.1)
    assert FeatureStore.open(tmp_path / "store").reasons == {"0": "broken", "4": "broken"}


def test_who_works_where_locks_do_not_reach_keeps_what_is_finished(tmp_path: Path) -> None:
    """Two nodes write one shard without seeing each other's lock: the first to finish has it."""
    encoder, ids = Counting(), [str(n) for n in range(4)]
    values = {"cls": np.ones((4, 1, 3), np.float32)}
    with ShardWriter(tmp_path, encoder.specs, ids, 4) as first:
        first.append(values, [None] * 4)
        with ShardWriter(tmp_path / "other", encoder.specs, ids, 4) as second:
            second._final = first._final
            second.append({"cls": values["cls"] + 1}, [None] * 4)
            kept = first.finish()
            assert second.finish().record == kept.record
    found = ScratchShard.find(kept.folder)
    assert found is not None
    assert found.record.files == kept.record.files


def test_a_claim_is_had_by_one(tmp_path: Path) -> None:
    one = Claim.take(tmp_path, "work")
    assert one is not None
    assert Claim.take(tmp_path, "work") is None
    other = Claim.take(tmp_path, "other work")
    assert other is not None
    one.release()
    one.release()
    with Claim.take(tmp_path, "work") or pytest.fail("it is free"):
        assert Claim.take(tmp_path, "work") is None
    other.release()
    assert list(tmp_path.iterdir()) == []


def test_gc_removes_the_claims_of_killed_runs(tmp_path: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encode(tmp_path / "store", "1/2")
    stale = scratch_folder(FINGERPRINT.digest) / f"{'a' * 32}{SUFFIX}"
    stale.touch()
    collect_scratch(dry=True)
    assert stale.exists()
    collect_scratch(dry=False)
    assert leftovers(work) == []
