"""Runs trials one after another, each from its own seed, so that any of them can be run again alone."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from benchmarks.campaign import others
from benchmarks.campaign.flips import flip
from benchmarks.campaign.kills import kill
from benchmarks.campaign.results import Journal, Outcome
from benchmarks.campaign.world import Trial, World, last, opened

KINDS: dict[str, Callable[[Trial, Outcome, np.random.Generator], None]] = {
    "kills": kill,
    "flips": flip,
    "full": others.full,
    "pairs": others.pair,
    "replaced": others.replaced,
}


def trial_of(world: World, kind: str, seed: int, number: int, code: str = "") -> Outcome:
    """Run one trial; an error of the campaign's own is a failure of it too."""
    outcome = Outcome(kind, seed, number, code=code)
    rng = np.random.default_rng([seed, list(KINDS).index(kind), number])
    logs = world.folder / "logs"
    logs.mkdir(exist_ok=True)
    log = logs / f"{kind}-{seed}-{number}.log"
    began = time.monotonic()
    with others.small_disk(world.project) if kind == "full" else nullcontext():
        trial = None
        try:
            if kind == "replaced":
                others.prepare(world, number)
            trial = Trial(world, log)
            KINDS[kind](trial, outcome, rng)
        except Exception:
            outcome.failed, outcome.last = "the campaign itself failed", last(traceback.format_exc(), 12)
        finally:
            if trial is not None:
                trial.remove()
    outcome.seconds = round(time.monotonic() - began, 2)
    return outcome


def in_turns(counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """(kind, number) of all trials, the kinds mixed, so that a campaign that is stopped has some of each."""
    shares = [((number + 0.5) / count, kind, number) for kind, count in counts.items() for number in range(count)]
    for _, kind, number in sorted(shares):
        yield kind, number


def campaign(
    home: Path,
    commands: Path,
    worker: int,
    journal: Journal,
    todo: Iterable[tuple[str, int]],
    seed: int,
    until: float = float("inf"),
    code: str = "",
) -> None:
    """Run trials and note them, with a line for each; nothing more is begun after `until` (seconds of the epoch)."""
    world = opened(home, commands, worker)
    for kind, number in todo:
        if time.time() > until:
            return
        outcome = trial_of(world, kind, seed, number, code)
        journal.add(outcome)
        state = f"FAILED: {outcome.failed}" if outcome.failed else outcome.how
        about = outcome.what.get("stage", outcome.what.get("file", ""))
        print(
            f"{kind} {number} [{outcome.what.get('group', '')}] {about}: {state} ({outcome.seconds:.1f} s)",
            flush=True,
        )
