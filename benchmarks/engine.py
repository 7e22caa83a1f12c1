"""What the Ray engine costs, and what a second worker brings.

    python benchmarks/engine.py [--shard-rows 128] [--shards 2]        # pip install -e '.[ray]'; two idle cores
    python benchmarks/engine.py --shard-rows 16 --shards 1 --dry       # tries it, writes no figures

ViT-S/14 at 224 px over JPEG photographs of 500 x 375 px, on the CPU, one core a worker; the rows of a shard are so many
that it takes about ten seconds. `bare` is the row encoder in a loop, in a process of its own, which writes nothing;
one worker and two go through the engine to finished shards: decoding, forward, checksums, fsync, claims, calls.
All are warm before the clock starts, and every worker writes as many shards. Starting a cluster and its workers, with
the backbone, is told apart. The three must give the same features, or it stops.
Takes under three minutes on idle cores and says what it is at; each of the three is ended after `--limit` seconds.
Prints a table and writes benchmarks/results/engine.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.encode_work import Work, checkpoint_of, cpu_works, index_of  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "engine.json"


def job_of(work: Work, folder: Path, shard_rows: int) -> Any:
    """What is encoded, by one core a worker."""
    from pipeline.config import EncodeParams, EncodeSettings
    from pipeline.config.stores import RayParams, StoreSpec
    from pipeline.encoding.modalities import EncodeJob

    params = EncodeParams(
        batch_size=work.batch_size,
        workers=1,
        device="cpu",
        shard_rows=shard_rows,
        engine="ray",
        ray=RayParams(address="local", cpus=1),
    )
    store = StoreSpec(group="pairs", dataset="photographs", view="vit", encoder="vit")
    settings = EncodeSettings(name="photographs", store=store, view=work.view, encoder=work.spec, encode=params)
    return EncodeJob(settings, checkpoint_of(work, folder), folder / "index")


def bare(job: Any, shards: int) -> dict[str, Any]:
    """Seconds for each of `shards` shards of the row encoder alone, after a warm one."""
    plan, load = job.plan_and_loader()
    encoder, times, last = load(), [], np.empty(0)
    for number in range(shards + 1):
        started = time.perf_counter()
        batches = list(encoder.encode(plan.shard(number)))
        times.append(time.perf_counter() - started)
        say(f"shard {number}{' (warm-up)' if not number else ''}: {times[-1]:.2f} s")
        last = np.concatenate([batch.arrays["cls"] for batch in batches])
    return {"seconds_per_shard": float(np.mean(times[1:])), "shards": times[1:], "last": last.tolist()}


def say(what: str) -> None:
    """Tell what is being done, at once."""
    print(f"  {what}", file=sys.stderr, flush=True)


class Told:
    """Progress a line at a time."""

    desc = "benchmark"

    def __init__(self) -> None:
        self._started, self._rows = time.perf_counter(), 0

    def update(self, n: float | None = 1) -> None:
        self._rows += int(n or 0)
        say(f"{self._rows} rows after {time.perf_counter() - self._started:.1f} s")

    def set_description_str(self, desc: str | None = None, refresh: bool | None = True) -> None: ...


def engine(job: Any, workers: int, shards: int) -> dict[str, Any]:
    """Seconds for `shards` shards of each of so many workers, after a warm one each, and until they were warm."""
    import ray

    from pipeline.encoding.counts import Counts
    from pipeline.encoding.plan import Plan
    from pipeline.encoding.planned import PlannedShards
    from pipeline.encoding.ray_cluster import first_of
    from pipeline.encoding.ray_engine import RayEngine
    from pipeline.features.scratch import scratch_folder, shared

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    scratch = scratch_folder(job.fingerprint().digest)
    plan, _ = job.plan_and_loader()
    started = time.perf_counter()
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        object_store_memory=100 << 20,
        _node_ip_address="127.0.0.1",
        logging_level="ERROR",
        log_to_driver=False,
    )
    up = time.perf_counter()
    say(f"a cluster of {workers} cores is up after {up - started:.1f} s")
    try:
        with shared(scratch), RayEngine(job) as runner:
            layout = runner.layout()
            planned = PlannedShards(scratch, Plan(plan.ids, job.settings.encode.shard_rows))
            counts = Counts("benchmark", planned.total_rows, 0.0)
            pool = runner._workers()
            while len(pool.ready) < workers:
                pool.fill(workers)
                pool.started(first_of(pool.starting(), 1.0))
            say(f"{workers} workers have started after {time.perf_counter() - started:.1f} s; a warm-up shard for each")
            runner.write(range(workers), planned, layout, counts, Told())
            warm = time.perf_counter()
            say(f"{shards} shards for each")
            runner.write(range(workers, workers * (shards + 1)), planned, layout, counts, Told())
            ended = time.perf_counter()
            found = planned.find(shards)
            assert found is not None
            (spec,) = [spec for spec in layout.stored if spec.name == "cls"]
            last = found.take(spec, np.arange(found.record.rows))
            assert last is not None
    finally:
        ray.shutdown()
    return {
        "seconds": ended - warm,
        "seconds_per_shard": (ended - warm) / shards,
        "rows_per_second": workers * shards * job.settings.encode.shard_rows / (ended - warm),
        "cluster_up_seconds": up - started,
        "workers_warm_seconds": warm - up,
        "last": np.asarray(last, np.float32).tolist(),
    }


def side(name: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """One of the three, in a process of its own, which is ended with all that it started if it takes too long."""
    result = folder / f"{name}.json"
    command = [sys.executable, __file__, "--side", name, "--folder", str(folder)]
    command += ["--shard-rows", str(arguments.shard_rows), "--shards", str(arguments.shards)]
    variables = {"PERMAFROST_WORK": str(folder / f"work-{name}"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    Path(variables["PERMAFROST_WORK"]).mkdir()
    print(f"{name}:", file=sys.stderr, flush=True)
    process = subprocess.Popen(command, cwd=folder, env=os.environ | variables, start_new_session=True)
    try:
        status = process.wait(arguments.limit)
    except subprocess.TimeoutExpired:
        end_tree(process.pid)
        sys.exit(f"{name} took more than {arguments.limit} s and was ended. Are the cores idle?")
    except BaseException:
        end_tree(process.pid)
        raise
    if status:
        sys.exit(f"{name} failed")
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return found


def end_tree(process: int) -> None:
    """Kill a process and its children, those of Ray too, which are in sessions of their own."""
    try:
        first = psutil.Process(process)
        every = [*first.children(recursive=True), first]
    except psutil.NoSuchProcess:
        return
    for one in every:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(every, 10)


def require_same(results: Sequence[dict[str, Any]]) -> None:
    """Stop where two sides have other features of the last shard that all have written."""
    first, *others = (np.array(result.pop("last"), np.float32) for result in results)
    for other in others:
        if not np.allclose(first.astype(np.float16), other, atol=2e-3):
            raise SystemExit("the engine gives other features")


def main() -> None:
    """Measure and write, or be one side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shard-rows", type=int, default=128)
    parser.add_argument("--shards", type=int, default=2)
    parser.add_argument("--limit", type=float, default=75, help="seconds that each of the three may take")
    parser.add_argument("--dry", action="store_true", help="write no figures")
    parser.add_argument("--side", choices=["bare", "one", "two"])
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    (work,) = [w for w in cpu_works(arguments.shard_rows * 2 * (arguments.shards + 1), 1) if w.images]
    if arguments.side:
        job = job_of(work, arguments.folder, arguments.shard_rows)
        if arguments.side == "bare":
            found = bare(job, arguments.shards)
        else:
            found = engine(job, {"one": 1, "two": 2}[arguments.side], arguments.shards)
        (arguments.folder / f"{arguments.side}.json").write_text(json.dumps(found), encoding="utf-8")
        return
    from pipeline.accounting.machine import describe_machine

    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        folder = Path(name)
        print(f"{work.rows} pictures, their index, the backbone", file=sys.stderr, flush=True)
        index_of(folder, work.rows, work.rows)  # pictures without a caption are left out
        checkpoint_of(work, folder)
        load = os.getloadavg()
        results = {key: side(key, folder, arguments) for key in ("bare", "one", "two")}
    require_same(list(results.values()))
    overhead = results["one"]["seconds_per_shard"] / results["bare"]["seconds_per_shard"] - 1
    speedup = results["two"]["rows_per_second"] / results["one"]["rows_per_second"]
    report = {
        "schema": 1,
        "what": __doc__.splitlines()[0],
        "machine": describe_machine(),
        "load_average": load,
        "shard_rows": arguments.shard_rows,
        "shards_per_worker": arguments.shards,
        "overhead_per_shard": overhead,
        "two_workers_over_one": speedup,
        **results,
    }
    if not arguments.dry:
        OUT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for key, result in results.items():
        print(f"{key:5} {result['seconds_per_shard']:7.2f} s a shard")
    print(f"overhead of the engine {overhead:+.1%} a shard; two workers are {speedup:.2f} times one")


if __name__ == "__main__":
    main()
