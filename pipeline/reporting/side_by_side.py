"""The figures of two aligners of one run, or of two runs, side by side."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.config import TASKS
from pipeline.errors import DataError
from pipeline.paths import RESULTS
from pipeline.reporting.inputs import Node, read_json
from pipeline.reporting.leads import headline_keys
from pipeline.reporting.names import key_of
from pipeline.reporting.results import by_key

Results = Mapping[str, Node]  # by task


@dataclass(frozen=True)
class Line:
    """A figure that both sides have.

    Attributes:
        aligner: whose figure it is; of two aligners `A, B`.
        verdict: `*` where the difference is established within the run; empty between runs, whose items may differ.
    """

    task: str
    dataset: str
    measure: str
    aligner: str
    chance: float
    a: float
    b: float
    verdict: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain values, with the difference."""
        return asdict(self) | {"difference": self.b - self.a}


def side_by_side(a: str, b: str, *, task: str | None = None, everything: bool = False) -> list[Line]:
    """The figures that both sides have, in the order of the tasks.

    Args:
        a, b: two aligners of the run in the working directory; or each the root of a project, or a revision of Git
            here whose results DVC has.
        everything: every figure, not only those that the report leads with.

    Raises:
        DataError: a side is none of these, has no results, or the two have no figure in common.
    """
    here = _results(Path.cwd())
    aligners = {row["aligner"].text() for node in here.values() for row in node.nodes("rows")}
    if {a, b} <= aligners:
        lines = list(_of_aligners(here, a, b, everything))
    else:
        lines = list(_of_runs(_side(a, aligners), _side(b, aligners), everything))
    kept = [line for line in lines if task in (None, line.task)]
    if not kept:
        raise DataError(f"{a} and {b} have no figure in common{f' of task {task}' if task else ''}.")
    return kept


def _side(name: str, aligners: set[str]) -> Results:
    """The results of a project or of a revision."""
    folder = Path(name).expanduser()
    found = _results(folder) if folder.is_dir() else _of_revision(name, aligners)
    if not found:
        raise DataError(f"{name} has no results under {RESULTS}. Evaluate there with: dvc repro")
    return found


def _results(root: Path) -> Results:
    nodes = {name: read_json(root / RESULTS / f"{name}.json") for name in TASKS}
    return {name: node for name, node in nodes.items() if node is not None}


def _of_revision(name: str, aligners: set[str]) -> Results:
    commit = _commit(name)
    if commit is None:
        listed = f" Aligners here: {', '.join(sorted(aligners))}." if aligners else ""
        raise DataError(
            f"{name!r} is no aligner of this run, no folder, no revision of Git and no experiment of DVC.{listed}"
        )
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    found: dict[str, Node] = {}
    try:
        files = DVCFileSystem(".", rev=commit)
        for task in TASKS:
            path = RESULTS / f"{task}.json"
            if files.exists(path.as_posix()):
                found[task] = Node(path, json.loads(files.read_text(path.as_posix(), encoding="utf-8")))
    except (DvcException, OSError, ValueError) as error:
        raise DataError(f"The results of {name} cannot be read: {error}. Fetch them with: dvc fetch -A") from error
    return found


def _commit(name: str) -> str | None:
    """The commit of a revision of Git, or of an experiment by the name that DVC gave it."""
    experiments = (
        f"refs/exps/*/*/{re.sub(r'[*?[]', '', name)}"  # by the commit they start from: refs/exps/ab/cd.../name
    )
    for command in (["rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"],
                    ["for-each-ref", "--format=%(objectname)", experiments]):  # fmt: skip
        done = subprocess.run(["git", *command], capture_output=True, text=True, check=False)
        if done.returncode == 0 and (found := done.stdout.split()):
            return found[-1]
    return None


def _of_aligners(results: Results, a: str, b: str, everything: bool) -> Iterator[Line]:
    for task, node in results.items():
        grouped = by_key(node.nodes("rows"))
        verdicts = {(key_of(one), one["aligner"].text(), one["versus"].text()): "*" if one["established"].value else ""
                    for one in node.nodes("differences")}  # fmt: skip
        for key in _keys(task, grouped, everything):
            rows = grouped[key]
            if a in rows and b in rows:
                verdict = verdicts.get((key, a, b)) or verdicts.get((key, b, a)) or ""
                yield _line(task, f"{a}, {b}", rows[a], rows[b], verdict)


def _of_runs(one: Results, other: Results, everything: bool) -> Iterator[Line]:
    for task in one:
        if task in other:
            before, after = (by_key(side[task].nodes("rows")) for side in (one, other))
            for key in _keys(task, after, everything):
                for name, row in after[key].items():
                    if name in before.get(key, {}):
                        yield _line(task, name, before[key][name], row, "")


def _keys(task: str, grouped: Mapping[Any, Any], everything: bool) -> list[Any]:
    return list(grouped) if everything else headline_keys(TASKS[task].headline, list(grouped))


def _line(task: str, aligner: str, a: Node, b: Node, verdict: str) -> Line:
    dataset, *rest = key_of(b)
    measure = " ".join(part for part in rest if part)
    return Line(
        task, dataset, measure, aligner, b["chance"].number(), a["value"].number(), b["value"].number(), verdict
    )
