"""What the Ray engine costs, and what a second worker brings.

    python benchmarks/engine.py [--shard-rows 128] [--shards 3]        # pip install -e '.[ray]'; two idle cores

ViT-S/14 at 224 px over JPEG photographs of 500 x 375 px, on the CPU, one core a worker; the rows of a shard are so many
that it takes about ten seconds. `bare` is the row encoder in a loop, in a process of its own, which writes nothing;
one worker and two go through the engine to finished shards: decoding, forward, checksums, fsync, claims, calls.
All are warm before the clock starts, and every worker writes as many shards. Starting a cluster and its workers, with
the backbone, is told apart. The three must give the same features, or it stops.
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
from pathlib import Path
from typing import Any

import numpy as np

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
        last = np.concatenate([batch.arrays["cls"] for batch in batches])
    return {"seconds_per_shard": float(np.mean(times[1:])), "shards": times[1:], "last": last.tolist()}


class Silent:
    """Progress that nobody sees."""

    desc = "benchmark"

    def update(self, n: float | None = 1) -> None: ...

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
    try:
        with shared(scratch), RayEngine(job) as runner:
            layout = runner.layout()
            planned = PlannedShards(scratch, Plan(plan.ids, job.settings.encode.shard_rows))
            counts = Counts("benchmark", planned.total_rows, 0.0)
            pool = runner._workers()
            while len(pool.ready) < workers:
                pool.fill(workers)
                pool.started(first_of(pool.starting(), 1.0))
            runner.write(range(workers), planned, layout, counts, Silent())  # one each
            warm = time.perf_counter()
            runner.write(range(workers, workers * (shards + 1)), planned, layout, counts, Silent())
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
    """One of the three, in a process of its own."""
    command = [sys.executable, __file__, "--side", name, "--folder", str(folder)]
    command += ["--shard-rows", str(arguments.shard_rows), "--shards", str(arguments.shards)]
    variables = {"PERMAFROST_WORK": str(folder / f"work-{name}"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    Path(variables["PERMAFROST_WORK"]).mkdir()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=True
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


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
    parser.add_argument("--shards", type=int, default=3)
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
        print(json.dumps(found))
        return
    from pipeline.accounting.machine import describe_machine

    with tempfile.TemporaryDirectory(prefix="engine-") as name:
        folder = Path(name)
        index_of(folder, work.rows, work.rows)
        checkpoint_of(work, folder)
        results = {key: side(key, folder, arguments) for key in ("bare", "one", "two")}
    require_same(list(results.values()))
    overhead = results["one"]["seconds_per_shard"] / results["bare"]["seconds_per_shard"] - 1
    speedup = results["two"]["rows_per_second"] / results["one"]["rows_per_second"]
    report = {
        "schema": 1,
        "what": __doc__.splitlines()[0],
        "machine": describe_machine(),
        "shard_rows": arguments.shard_rows,
        "shards_per_worker": arguments.shards,
        "overhead_per_shard": overhead,
        "two_workers_over_one": speedup,
        **results,
    }
    OUT.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for key, result in results.items():
        print(f"{key:5} {result['seconds_per_shard']:7.2f} s a shard")
    print(f"overhead of the engine {overhead:+.1%} a shard; two workers are {speedup:.2f} times one")


if __name__ == "__main__":
    main()
