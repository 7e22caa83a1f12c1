"""Sweeps as DVC users run them: queued experiments fit the same features and show their scores."""

import json
import time
from typing import Any

import pytest

from tests.dag.project import Project

pytestmark = pytest.mark.dag

SWEPT = "aligners.default.head.forms.kernel-ridge.ridge"


def test_a_value_of_the_default_is_swept_and_moves_its_score(project: Project) -> None:
    project.commit("before experiments")
    mark = len(project.journal())
    project.run("dvc", "exp", "run", "--queue", "-S", f"{SWEPT}=0.0001,100.0", "report")
    project.run("dvc", "queue", "start", "--jobs", "2")
    for _ in range(150):
        status = project.run("dvc", "queue", "status")
        if not any(state in status for state in ("Queued", "Running")):
            break
        time.sleep(2)
    assert status.count("Success") == 2, status + project.run("dvc", "exp", "show", "--csv")
    assert not project.passes(mark), "no backbone runs for an experiment"

    shown = json.loads(project.run("dvc", "exp", "show", "--json"))
    experiments = [e["revs"][0]["data"] for revision in shown for e in (revision.get("experiments") or [])]
    scores: dict[float, Any] = {}
    models: dict[str, set[str]] = {"default": set(), "curated": set()}
    for experiment in experiments:
        value: Any = experiment["params"]["params.yaml"]["data"]
        for part in SWEPT.split("."):
            value = value[part]
        (figures,) = experiment["metrics"].values()
        scores[value] = figures["data"]
        for name, hashes in models.items():
            hashes.add(experiment["outs"][f"data/models/{name}"]["hash"])
    assert sorted(scores) == [0.0001, 100.0]
    one, other = scores.values()
    assert one != other, "the figures of what was swept move"
    assert {name: len(hashes) for name, hashes in models.items()} == {"default": 2, "curated": 1}, "and nothing else"
