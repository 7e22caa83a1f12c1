"""The encode loop with an encoder whose features are known: what runs, what is reused, what is refused."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.encoding.plan import Plan, require_space
from pipeline.encoding.protocol import Batch
from pipeline.encoding.run import JOURNAL, StoreEncoder, bounded_shard_rows
from pipeline.errors import SourceError, StoreError
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.scratch import exclusive, scratch_folder, shared
from pipeline.features.shards import RECORD
from pipeline.paths import WORK_VARIABLE

FINGERPRINT = Fingerprint({"weights": "w"})


class Counting:
    """Gives each id features made of its number, last id first, two at a time; counts its passes."""

    def __init__(self, broken: Sequence[str] = (), hang_after: int | None = None) -> None:
        self.specs = (ArraySpec("cls", (1, 3), "float16"),)
        self.notes: dict[str, object] = {"patch_grid": [1, 1]}
        self.seen: list[str] = []
        self._broken, self._hang_after = broken, hang_after

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        for start in range(len(ids) - 1, -1, -2):
            positions = [p for p in (start, start - 1) if p >= 0]
            if self._hang_after is not None and len(self.seen) >= self._hang_after:
                time.sleep(600)
            self.seen += [ids[p] for p in positions]
            values = np.array([[[float(ids[p])] * 3] for p in positions], dtype=np.float32)
            yield Batch(positions, {"cls": values}, ["broken" if ids[p] in self._broken else None for p in positions])


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path / "work"


def encode(
    out: Path, numbers: Sequence[int], encoder: Counting, shard_rows: int = 4, rate: float = 0.0
) -> StoreEncoder:
    job = StoreEncoder("toy", FINGERPRINT, lambda: encoder, rate)
    job.run(Plan(tuple(str(n) for n in numbers), shard_rows), out)
    return job


@contextmanager
def process(code: str) -> Iterator["subprocess.Popen[str]"]:
    """Python that runs `code` until it is killed, at the latest when the block ends."""
    root = Path(__file__).parents[2]
    imports = "import sys, time\nfrom pathlib import Path\n"
    with subprocess.Popen(
        [sys.executable, "-c", imports + code], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def holder_of_the_lock(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    code = (
        "from pipeline.features.scratch import exclusive\n"
        f"with exclusive(Path({str(folder)!r})):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    with process(code) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder


def contents(out: Path) -> dict[str, float]:
    store = FeatureStore.open(out, expect=FINGERPRINT.as_dict())
    ids = store.ids[store.valid]
    return dict(zip(ids.tolist(), store.read("cls", ids)[:, 0, 0].tolist(), strict=True))


def test_every_row_lands_under_its_id(tmp_path: Path) -> None:
    encode(tmp_path / "s", range(10), encoder := Counting())
    assert contents(tmp_path / "s") == {str(n): float(n) for n in range(10)}
    assert sorted(encoder.seen, key=int) == [str(n) for n in range(10)]


def test_a_second_run_needs_no_encoder_at_all(tmp_path: Path) -> None:
    encode(tmp_path / "s", range(10), Counting())

    def refuse() -> Counting:
        raise AssertionError("the backbone was loaded")

    StoreEncoder("toy", FINGERPRINT, refuse, 0.0).run(Plan(tuple(map(str, range(10))), 4), tmp_path / "t")
    assert contents(tmp_path / "t") == contents(tmp_path / "s")


class TwoArrays(Counting):
    """Its arrays are not in the order of their names."""

    def __init__(self) -> None:
        super().__init__()
        self.specs = (ArraySpec("mean", (1, 3), "float16"), ArraySpec("cls", (1, 3), "float16"))

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        for batch in super().encode(ids):
            yield Batch(batch.positions, dict.fromkeys(("mean", "cls"), batch.arrays["cls"]), batch.reasons)


def test_a_second_run_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("s", "t"):
        encode(tmp_path / name, range(10), TwoArrays())
    assert (tmp_path / "s" / "zarr.json").read_bytes() == (tmp_path / "t" / "zarr.json").read_bytes()


def test_growth_encodes_only_the_new_rows(tmp_path: Path) -> None:
    encode(tmp_path / "s", range(10), Counting())
    encode(tmp_path / "s", range(13), encoder := Counting())
    assert sorted(encoder.seen, key=int) == ["10", "11", "12"]
    assert contents(tmp_path / "s") == {str(n): float(n) for n in range(13)}


def test_reordering_and_resharding_encode_nothing(tmp_path: Path) -> None:
    encode(tmp_path / "s", range(10), Counting())
    job = encode(tmp_path / "s", range(9, -1, -1), encoder := Counting(), shard_rows=7)
    assert encoder.seen == []
    assert job.summary.reused_rows == 10
    assert contents(tmp_path / "s") == {str(n): float(n) for n in range(10)}


class Prefetching(Counting):
    """Is told what the next shards will ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[list[list[str]]] = []

    def prefetch(self, later: Iterable[Sequence[str]]) -> None:
        self.expected.append([list(ids) for ids in later])


def test_only_rows_that_will_be_encoded_are_prefetched(tmp_path: Path) -> None:
    encode(tmp_path / "s", [4, 5, 6, 7, 9], Counting())
    encode(tmp_path / "s", [0, 1, 2, 3, 5, 4, 7, 6, 8, 9, 10, 11], encoder := Prefetching())
    assert encoder.expected == [[["8", "10", "11"]], []]  # the second shard is known, row by row
    assert contents(tmp_path / "s") == {str(n): float(n) for n in range(12)}


def test_a_killed_run_continues_from_the_last_whole_shard_and_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "from tests.encoding.test_run import Counting, encode\n"
        f"encode(Path({str(tmp_path / 's')!r}), range(10), Counting(hang_after=6))\n"
    )
    with process(code) as run:  # it hangs within the second shard, and a thread publishes the first
        while not list(scratch_folder(FINGERPRINT.digest).glob(f"{'[0-9a-f]' * 32}/{RECORD}")):
            assert run.poll() is None
            time.sleep(0.01)
        run.kill()
        assert run.wait() == -signal.SIGKILL
    assert not (tmp_path / "s").exists()
    encode(tmp_path / "s", range(10), encoder := Counting())
    assert sorted(encoder.seen, key=int) == [str(n) for n in range(4, 10)]
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "other"))
    encode(tmp_path / "t", range(10), Counting())
    names = sorted(p.relative_to(tmp_path / "s") for p in (tmp_path / "s").rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path / "t") for p in (tmp_path / "t").rglob("*") if p.is_file())
    assert all((tmp_path / "s" / n).read_bytes() == (tmp_path / "t" / n).read_bytes() for n in names)


def test_unreadable_samples_are_listed_and_kept_out(tmp_path: Path) -> None:
    encode(tmp_path / "s", range(10), Counting(broken=["7"]), rate=0.2)
    store = FeatureStore.open(tmp_path / "s")
    assert store.reasons == {"7": "broken"}
    assert "7" not in contents(tmp_path / "s")
    encode(tmp_path / "s", range(11), encoder := Counting(), rate=0.2)
    assert encoder.seen == ["10"]
    assert FeatureStore.open(tmp_path / "s").reasons == {"7": "broken"}


def test_too_many_failures_stop_the_run_with_the_first_reasons(tmp_path: Path) -> None:
    broken = Counting(broken=[str(n) for n in range(10)])
    with pytest.raises(SourceError, match="more than encode.max_failure_rate = 0.2 of 10 allows(?s:.*)broken"):
        encode(tmp_path / "s", range(10), broken, rate=0.2)
    assert len(broken.seen) < 10
    assert not (tmp_path / "s").exists()


def test_an_empty_data_set_is_an_empty_store(tmp_path: Path) -> None:
    encode(tmp_path / "s", [], Counting())
    assert len(FeatureStore.open(tmp_path / "s")) == 0
    assert contents(tmp_path / "s") == {}


def test_an_encode_and_who_removes_shards_refuse_each_other(tmp_path: Path) -> None:
    with (
        holder_of_the_lock(scratch_folder(FINGERPRINT.digest)) as holder,
        pytest.raises(StoreError, match=f"Process {holder.pid} checks or removes shards"),
    ):
        encode(tmp_path / "s", range(3), Counting())
    encode(tmp_path / "s", range(3), Counting())
    with (
        shared(scratch_folder(FINGERPRINT.digest)),
        shared(scratch_folder(FINGERPRINT.digest)),
        pytest.raises(StoreError, match=f"Another encode \\(process {os.getpid()}\\)"),
        exclusive(scratch_folder(FINGERPRINT.digest)),
    ):
        pytest.fail("two encodes hold it")


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    folder = tmp_path / "scratch"
    with holder_of_the_lock(folder) as holder:
        with pytest.raises(StoreError, match="Another encode"), exclusive(folder):
            pass
        holder.kill()
        assert holder.wait() == -signal.SIGKILL
        with exclusive(folder):
            assert (folder / "lock").read_text() == str(os.getpid())


def test_the_journal_tells_what_ran(tmp_path: Path, work: Path) -> None:
    encode(tmp_path / "s", range(10), Counting())
    encode(tmp_path / "s", range(12), Counting())
    lines = [json.loads(line) for line in (work / "scratch" / JOURNAL).read_text().splitlines()]
    assert [(line["encoded"], line["passes"], line["reused_shards"]) for line in lines] == [(10, 5, 0), (2, 1, 2)]


def test_an_error_about_space_has_both_figures(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Encoding will write 1000000000.00 GB, but only"):
        require_space(10**18, tmp_path / "not" / "yet")


def test_shards_stay_within_their_bound() -> None:
    assert bounded_shard_rows([ArraySpec("patch", (256, 384), "float16")], 65536) * 256 * 384 * 2 <= 512 << 20
    assert bounded_shard_rows([ArraySpec("cls", (1, 384), "float16")], 512) == 512
