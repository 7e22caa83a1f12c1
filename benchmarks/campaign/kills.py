"""Processes killed at random moments: of a stage, or of a whole `dvc repro`; then run again until done."""

import signal
from typing import Any

import numpy as np

from benchmarks.campaign.results import Outcome
from benchmarks.campaign.world import Stage, Trial, last, traced

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WEIGHTS = (0.8, 0.1, 0.1)
AGAIN = 0.3  # share of killed runs whose rerun is killed too


def kill(trial: Trial, outcome: Outcome, rng: np.random.Generator) -> None:
    """Kill a stage alone, or a `dvc repro` of some stages, once to three times, and let it end."""
    stages = list(trial.world.stages.values())
    # kinds in turn, so that none is missed
    kinds = sorted({stage.kind for stage in stages})
    kind = kinds[outcome.number % len(kinds)]
    stage = pick(rng, [one for one in stages if one.kind == kind])
    whole = bool(rng.random() < 0.3)
    number = int(rng.choice([int(one) for one in SIGNALS], p=WEIGHTS))
    outcome.what |= {
        "group": "dvc repro" if whole else stage.kind,
        "stage": stage.name,
        "signal": signal.Signals(number).name,
        "hits": [],
    }
    forgotten = [stage]
    if whole:
        forgotten += [pick(rng, stages) for _ in range(int(rng.integers(0, 3)))]
        outcome.what["forgotten"] = [one.name for one in forgotten]
    for one in forgotten:
        trial.reset(one, cache=bool(rng.random() < 0.6), scratch=bool(rng.random() < 0.6))
    if whole:
        trial.unlock(forgotten)
    command = ("dvc", "repro") if whole else stage.command
    alone = bool(whole and rng.random() < 0.15)  # the stage lives on when DVC is killed
    outcome.what["dvc alone"] = alone
    for _ in range(3):
        hit, seconds = _moment(rng, stage, whole, number, not alone)
        fired = trial.world.folder / "fired"
        fired.unlink(missing_ok=True)
        mark = trial.log.stat().st_size if trial.log.exists() else 0
        running = trial.start(*command, fault=hit and {**hit, "fired": str(fired)})
        code = running.wait(seconds)
        where = fired.read_text() if fired.is_file() else ""
        if code is None:
            running.signal(number, group=not alone)
            where = f"after {seconds:.2f} s"
            if number != signal.SIGKILL and running.wait(60) is None:
                outcome.failed = f"still runs a minute after {signal.Signals(number).name}"
        if not alone:
            running.kill()
        running.wait(60)
        said = trial.said(mark)
        outcome.what["hits"].append(where or "ended before")
        if number != signal.SIGKILL and where and traced(said):
            outcome.failed, outcome.last = "a traceback after a signal", last(said, 12)
        if not where or rng.random() > AGAIN:
            break
    outcome.how = "same bytes after a rerun" if outcome.what["hits"][0] != "ended before" else "ended before"
    if alone:  # the orphan has time to end; DVC says so if it does not let go
        trial.wait_for_orphans(running)
    wrong = trial.finish(*command)
    if not wrong:
        wrong = "; ".join(trial.differences() + trial.leftovers())
    if not wrong and rng.random() < 0.3 and whole:  # a stage run alone measures other seconds than dvc.lock knows
        code, said = trial.run("pipeline.store", "verify")
        wrong = f"verify ends with {code}: {last(said)}" if code else ""
    if wrong:
        outcome.failed = wrong
        outcome.last = outcome.last or last(trial.said(), 12)


def pick(rng: np.random.Generator, some: list[Any]) -> Any:
    """One of them."""
    return some[int(rng.integers(len(some)))]


def _moment(
    rng: np.random.Generator, stage: Stage, whole: bool, number: int, group: bool
) -> tuple[dict[str, Any] | None, float | None]:
    """A change of files at which the process is hit, or seconds after which it is; late moments come more often."""
    late = bool(rng.random() < 0.5)
    share = float(rng.uniform(0.8, 1.0) if late else rng.uniform(0.0, 1.0))
    kind = rng.random()
    if whole and kind < 0.4:
        change = int(rng.integers(1, 60))
        fault = {"program": "dvc", "change": change, "within": "dvc.lock" if rng.random() < 0.5 else ""}
        if fault["within"]:
            fault["change"] = int(rng.integers(1, 4))
    elif kind < 0.8:
        fault = {"program": " ".join(stage.command), "change": max(1, round(share * stage.changes)), "within": ""}
    else:
        return None, share * (stage.seconds + (1.5 if whole else 0.1))
    delay = 0.0 if rng.random() < 0.4 else float(rng.exponential(0.004))
    if fault["within"]:
        delay = float(rng.uniform(0.0, 0.06))  # a whole lock is written in that time
    return {**fault, "delay": delay, "signal": number, "group": group}, None
