"""What each trial came to, a line of JSON each, so that a stopped campaign goes on; and the table of all."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Outcome:
    """The result of one trial.

    Attributes:
        kind, seed, number: which one; with them it can be run again.
        what: what was done to what.
        how: how it ended, in two or three words, for counting.
        failed: what did not hold; empty if all did.
        last: the last lines that were printed, of failures alone.
    """

    kind: str
    seed: int
    number: int
    what: dict[str, Any] = field(default_factory=dict)
    how: str = ""
    failed: str = ""
    last: str = ""
    seconds: float = 0.0
    code: str = ""


class Journal:
    """Outcomes in a file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Outcome]:
        """All that was noted; a line cut short is skipped."""
        outcomes = []
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else ():
            try:
                outcomes.append(Outcome(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return outcomes

    def add(self, outcome: Outcome) -> None:
        """Note one more."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome), ensure_ascii=False) + "\n")


def summary(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Tried, held and failed by kind, how they ended, and every failure."""
    by_kind: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome)
    kinds = {}
    for kind, some in by_kind.items():
        groups: dict[str, Counter[str]] = defaultdict(Counter)
        for one in some:
            groups[str(one.what.get("group", ""))]["failed" if one.failed else one.how] += 1
        kinds[kind] = {
            "tried": len(some),
            "held": sum(not one.failed for one in some),
            "failed": sum(bool(one.failed) for one in some),
            "seconds": round(sum(one.seconds for one in some)),
            "how": dict(Counter(one.how for one in some).most_common()),
            "groups": {name: dict(counts) for name, counts in sorted(groups.items())},
        }
    failures = [asdict(one) for some in by_kind.values() for one in some if one.failed]
    return {"kinds": kinds, "failures": failures}


def table(found: dict[str, Any]) -> str:
    """For people."""
    lines = [f"{'kind':10} {'tried':>6} {'held':>6} {'failed':>7}   how they ended"]
    for kind, one in found["kinds"].items():
        how = ", ".join(f"{number} {name}" for name, number in one["how"].items() if name)
        lines.append(f"{kind:10} {one['tried']:6} {one['held']:6} {one['failed']:7}   {how}")
    for one in found["failures"]:
        lines.append(
            f"\n{one['kind']} {one['number']} (seed {one['seed']}): {one['failed']}\n  {json.dumps(one['what'])}"
        )
        lines += [f"    {line}" for line in one["last"].splitlines()]
    return "\n".join(lines)


TITLES = {
    "kills": "kills and signals",
    "flips": "flipped bits",
    "full": "full disks",
    "pairs": "two at once",
    "replaced": "replaced inputs",
}


def pages_tables(found: dict[str, Any]) -> str:
    """The tables of docs/reliability.md: all kinds, then flips by kind of file."""
    lines = ["| | tried | held | failed | how they ended |", "|---|---:|---:|---:|---|"]
    for kind, one in found["kinds"].items():
        title = TITLES[kind]
        how = ", ".join(f"{number} {name}" for name, number in sorted(one["how"].items(), key=lambda item: -item[1]))
        lines.append(f"| {title} | {one['tried']} | {one['held']} | {one['failed']} | {how} |")
    lines += ["", "| a bit in | tried | how they ended |", "|---|---:|---|"]
    for group, counts in found["kinds"]["flips"]["groups"].items():
        how = ", ".join(f"{number} {name}" for name, number in sorted(counts.items(), key=lambda item: -item[1]))
        lines.append(f"| {group} | {sum(counts.values())} | {how} |")
    return "\n".join(lines)
