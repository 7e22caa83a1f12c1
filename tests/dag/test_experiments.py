"""Sweeps as DVC users run them: queued experiments train on the same features and show their metrics."""

import json
import time

import pytest

from tests.dag.project import Project
from tests.dag.reruns import SCORES

pytestmark = pytest.mark.dag


def test_queued_experiments_show_their_metrics_and_copy_no_features(project: Project) -> None:
    project.commit("before experiments")
    mark = len(project.journal())
    project.run("dvc", "exp", "run", "--queue", "-S", "train.lr=0.003,0.004", SCORES)
    project.run("dvc", "queue", "start", "--jobs", "2")
    for _ in range(150):
        status = project.run("dvc", "queue", "status")
        if not any(state in status for state in ("Queued", "Running")):
            break
        time.sleep(2)
    assert status.count("Success") == 2, status + project.run("dvc", "exp", "show", "--csv")
    assert not project.passes(mark), "no backbone runs for an experiment"

    shown = json.loads(project.run("dvc", "exp", "show", "--json"))
    experiments = [e for revision in shown for e in (revision.get("experiments") or [])]
    rates, scores = [], []
    for experiment in experiments:
        data = experiment["revs"][0]["data"]
        rates.append(data["params"]["params.yaml"]["data"]["train"]["lr"])
        scores.append(data["metrics"]["data/results/retrieval.summary.json"]["data"])
    assert sorted(rates) == [0.003, 0.004]
    assert all(scores)
