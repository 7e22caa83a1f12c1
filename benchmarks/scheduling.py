"""Encoding by 1,000 workers, simulated: stragglers, lost nodes, preemption; what follows for shard size and retries.

    python benchmarks/scheduling.py [--seeds 10] [--workers 1000] [--rows 400e6 5e9]

Shards are dealt by the engine's own `Dealer`, with a simulated clock, or in fixed parts as `+part=k/n` has them.
What is drawn for each seed: the speed of every worker and shard, when nodes are preempted or lost, and for how long.
Every assumption is a field of `World` and is written beside the results, benchmarks/results/scheduling.json; none of
them was measured at this size.
"""

import argparse
import heapq
import itertools
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.encoding.dealing import Dealer  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "scheduling.json"
SIZES = (1024, 4096, 16384, 65536, 131072)
MOST_SHARDS = 1_500_000  # simulated in one run


@dataclass(frozen=True)
class World:
    """What is assumed. Seconds, unless another unit is said.

    Attributes:
        workers, per_node: GPUs, and how many a node has, which are lost together.
        rate: rows a second of a usual worker.
        spread: standard deviation of the logarithm of the speed of a worker; `jitter` of that of a shard.
        slow, slow_factor: share of workers that run at so many times the usual time.
        start: from a free node to a worker with its backbone.
        shard: time of a shard beside its rows: claim, flush, call.
        deal: of the driver, for each shard that was written; it does one at a time.
        detect: until a lost worker is noticed.
        preempted_every, lost_every: mean time between preemptions, and between losses, of one node; infinite for never.
        back_after: mean time until a preempted or lost node is replaced.
    """

    workers: int = 1000
    per_node: int = 8
    rate: float = 956.0
    spread: float = 0.05
    jitter: float = 0.03
    slow: float = 0.02
    slow_factor: float = 2.0
    start: float = 60.0
    shard: float = 0.3
    deal: float = 0.002
    detect: float = 15.0
    preempted_every: float = math.inf
    lost_every: float = 1000 * 3600.0
    back_after: float = 600.0


SPOT = {"preempted_every": 4 * 3600.0}


@dataclass
class Run:
    """What one simulation found.

    Attributes:
        seconds: until all shards were finished.
        of_ideal: over the time that the usual rate of all workers would take.
        lost_share: of all work that was done, what was done for shards that were then lost.
        losses: of workers, while they wrote.
        most_losses: of one shard.
        tail: seconds from when the first worker had nothing to do until the end.
    """

    seconds: float
    of_ideal: float
    lost_share: float
    losses: int
    most_losses: int
    tail: float


@dataclass
class _Worker:
    factor: float  # seconds a row, over the usual
    up: bool = False
    began: float = 0.0
    duration: float = 0.0
    number: int | None = None
    epoch: int = 0  # of being up; events of an earlier one are void


@dataclass
class _Deals:
    """Shards by the engine's dealer: whoever is idle gets the next one."""

    shards: int
    now: float = 0.0
    dealer: Dealer = field(init=False)

    def __post_init__(self) -> None:
        self.dealer = Dealer(range(self.shards), clock=lambda: self.now)

    def next(self, worker: int) -> int | None:
        dealt = self.dealer.deal(worker)
        return None if dealt is None else dealt[0]

    def finished(self, worker: int) -> None:
        self.dealer.finished(worker)

    def lost(self, worker: int) -> int:
        return self.dealer.lost(worker)[1]

    @property
    def left(self) -> int:
        return len(self.dealer.left)


@dataclass
class _Parts:
    """Shards by worker from the start, every n-th one: `+part=k/n`, each job started again where it was lost."""

    shards: int
    workers: int
    now: float = 0.0

    def __post_init__(self) -> None:
        self._next = dict.fromkeys(range(self.workers), 0)
        self._losses: dict[int, int] = defaultdict(int)
        self.left = self.shards

    def _number(self, worker: int) -> int:
        return worker + self._next[worker] * self.workers

    def next(self, worker: int) -> int | None:
        number = self._number(worker)
        return number if number < self.shards else None

    def finished(self, worker: int) -> None:
        self._next[worker] += 1
        self.left -= 1

    def lost(self, worker: int) -> int:
        number = self._number(worker)
        self._losses[number] += 1
        return self._losses[number]


def simulate(world: World, rows: float, shard_rows: int, seed: int, policy: str = "dealt") -> Run:
    """Encode so many rows in shards of `shard_rows`.

    Args:
        policy: "dealt", by the engine's dealer; or "parts", a fixed share for each worker.
    """
    drawn = np.random.default_rng([seed, shard_rows])
    shards = math.ceil(rows / shard_rows)
    factors = np.exp(drawn.normal(0, world.spread, world.workers))
    factors[drawn.random(world.workers) < world.slow] *= world.slow_factor
    workers = [_Worker(float(factor)) for factor in factors]
    noise = _normals(drawn, world.jitter)
    work: _Deals | _Parts = _Deals(shards) if policy == "dealt" else _Parts(shards, world.workers)
    events: list[tuple[float, int, str, int, int]] = []
    order = itertools.count()

    def push(when: float, what: str, which: int, epoch: int = 0) -> None:
        if math.isfinite(when):
            heapq.heappush(events, (when, next(order), what, which, epoch))

    nodes = math.ceil(world.workers / world.per_node)
    rate_of_end = 1 / world.preempted_every + 1 / world.lost_every
    end_every = 1 / rate_of_end if rate_of_end else math.inf
    for worker in range(world.workers):
        push(world.start, "ready", worker, 0)
    for node in range(nodes):
        push(_exponential(drawn, end_every), "ends", node)
    idle: set[int] = set()
    driver_free = first_idle = 0.0
    done = lost = 0.0
    losses = most = 0

    def give(worker: int, now: float) -> None:
        nonlocal driver_free, first_idle
        work.now = now
        number = work.next(worker)
        one = workers[worker]
        if number is None:
            idle.add(worker)
            first_idle = first_idle or now
            return
        idle.discard(worker)
        driver_free = max(driver_free, now) + world.deal
        size = min(shard_rows, rows - number * shard_rows)
        one.duration = size / world.rate * one.factor * math.exp(next(noise)) + world.shard
        one.number, one.began = number, driver_free
        push(driver_free + one.duration, "done", worker, one.epoch)

    now = 0.0
    while work.left:
        now, _, what, which, epoch = heapq.heappop(events)
        if what == "ready" and epoch == workers[which].epoch:
            workers[which].up = True
            give(which, now)
        elif what == "done" and epoch == workers[which].epoch:
            done += workers[which].duration
            workers[which].number = None
            work.finished(which)
            give(which, now)
        elif what == "ends":
            back = now + world.detect + _exponential(drawn, world.back_after)
            for worker in range(which * world.per_node, min((which + 1) * world.per_node, world.workers)):
                one = workers[worker]
                idle.discard(worker)
                one.epoch += 1
                if one.up and one.number is not None:
                    losses, lost = losses + 1, lost + max(0.0, now - one.began)
                    push(now + world.detect, "noticed", worker, one.epoch)
                one.up = False
                push(back + world.start, "ready", worker, one.epoch)
            push(back + _exponential(drawn, end_every), "ends", which)
        elif what == "noticed":
            workers[which].number = None
            most = max(most, work.lost(which))
            for worker in list(itertools.islice(idle, 2)):  # what it wrote, and what was reserved for it
                give(worker, now)
    ideal = rows / (world.rate * world.workers)
    return Run(now, now / ideal, lost / (done + lost), losses, most, now - (first_idle or now))


def _exponential(drawn: np.random.Generator, mean: float) -> float:
    return float(drawn.exponential(mean)) if math.isfinite(mean) else math.inf


def _normals(drawn: np.random.Generator, deviation: float) -> Iterator[float]:
    while True:
        yield from drawn.normal(0, deviation, 4096).tolist()


def chance_of_stop(shard_seconds: float, mean_time: float, retries: int, shards: int) -> float:
    """How likely some shard is lost more than `retries` times, which stops the stage."""
    one = -math.expm1(-shard_seconds / mean_time) if math.isfinite(mean_time) else 0.0
    return float(-math.expm1(shards * math.log1p(-(one ** (retries + 1))))) if one < 1 else 1.0


def cases(
    world: World, every_rows: Sequence[float], seeds: int, sizes: Sequence[int] = SIZES
) -> Iterator[dict[str, Any]]:
    """Every case with its runs over the seeds, as they are done."""
    for rows, (name, changes), shard_rows, policy in itertools.product(
        every_rows, (("reserved", {}), ("preemptible", SPOT)), sizes, ("dealt", "parts")
    ):
        if rows / shard_rows > MOST_SHARDS:
            continue
        here = replace(world, **changes)
        runs = [simulate(here, rows, shard_rows, seed, policy) for seed in range(seeds)]
        mean_time = 1 / (1 / here.preempted_every + 1 / here.lost_every)
        seconds = shard_rows / here.rate + here.shard
        yield {
            "rows": rows,
            "nodes": name,
            "shard_rows": shard_rows,
            "policy": policy,
            "shards": math.ceil(rows / shard_rows),
            "shard_seconds": round(seconds, 1),
            "ideal_seconds": round(rows / (here.rate * here.workers), 1),
            **{key: _spread([float(getattr(run, key)) for run in runs]) for key in asdict(runs[0])},
            "chance_that_a_slow_shard_stops_it": {
                retries: chance_of_stop(seconds * here.slow_factor, mean_time, retries, math.ceil(rows / shard_rows))
                for retries in (1, 3, 5)
            },
        }


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": float(np.median(values)), "low": min(values), "high": max(values)}


def line(case: dict[str, Any]) -> str:
    """A case in one line."""
    of = case["of_ideal"]
    return (
        f"{case['rows']:8.1e} {case['nodes']:12} {case['policy']:6} {case['shard_rows']:7} rows "
        f"{case['shard_seconds']:6.1f} s  {of['median']:5.2f} ({of['low']:.2f} to {of['high']:.2f}) of ideal, "
        f"lost {case['lost_share']['median']:.2%}, at most {case['most_losses']['high']:.0f} losses of a shard, "
        f"tail {case['tail']['median']:.0f} s"
    )


def markdown(found: Sequence[dict[str, Any]]) -> list[str]:
    """The table of docs/scale.md: time over the ideal, median and range over seeds, by shard and by policy."""
    columns = ("pairs", "nodes", "rows a shard", "seconds a shard", "dealt, of ideal", "fixed parts, of ideal")
    lines = [f"| {' | '.join((*columns, 'work lost', 'last wait'))} |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    parts = {(case["rows"], case["nodes"], case["shard_rows"]): case for case in found if case["policy"] == "parts"}
    for case in (case for case in found if case["policy"] == "dealt"):
        other = parts[case["rows"], case["nodes"], case["shard_rows"]]["of_ideal"]
        of = case["of_ideal"]
        lines.append(
            f"| {case['rows'] / 1e6:,.0f} M | {case['nodes']} | {case['shard_rows']:,} | {case['shard_seconds']:g} | "
            f"{of['median']:.2f} ({of['low']:.2f} to {of['high']:.2f}) | {other['median']:.1f} ({other['low']:.1f} to "
            f"{other['high']:.1f}) | {case['lost_share']['median']:.2%} | {case['tail']['median']:.0f} s |"
        )
    return lines


def main() -> None:
    """Simulate, print as it goes, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=World.workers)
    parser.add_argument("--rows", type=float, nargs="+", default=[400e6, 5e9])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    world, started, found = World(workers=given.workers), time.perf_counter(), []
    for case in cases(world, given.rows, given.seeds):
        found.append(case)
        print(line(case), flush=True)
    assumed = {key: None if value == math.inf else value for key, value in asdict(world).items()}
    report = {"seeds": given.seeds, "assumed": assumed, "preemptible": SPOT, "cases": found}
    print("\n".join(markdown(found)))
    given.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
