"""An ensemble in the DAG: it is evaluated, and nothing is encoded or fitted for it."""

import json
from collections import Counter

import pytest

from tests.dag.project import Project
from tests.dag.reruns import SCORES, edited, rerun

pytestmark = [pytest.mark.dag, pytest.mark.long]


def test_an_ensemble_is_evaluated_again_and_nothing_else_is(project: Project) -> None:
    ensembles = {"two": {"of": ["default", "curated"]}}
    with edited(project, "aligners.curated.data", "all"), edited(project, "ensembles", ensembles):
        stages, rows = rerun(project, SCORES, "accounting")
        assert stages >= {SCORES, "accounting"}
        assert rows == Counter()
        assert rerun(project, SCORES, "accounting") == (set(), Counter())
        with edited(project, "ensembles", {"two": {"of": ["default", "curated"], "scores": "logit"}}):
            assert rerun(project, SCORES) == ({SCORES}, Counter())
        scores = json.loads((project.folder / "data/results/retrieval.json").read_text())
        assert "two" in {row["aligner"] for row in scores["rows"]}
        costs = json.loads((project.folder / "data/accounting/costs.json").read_text())
        assert [entry["aligner"] for entry in costs["ensembles"]] == ["two"]
