"""Ensembles and corrected scores on the page: columns and costs of their own, and no figure of theirs leads."""

from pathlib import Path

import pytest

from pipeline.reporting.leads import Leads
from pipeline.reporting.run_data import RunData
from tests.reporting.small import RETRIEVAL, SmallProject, difference, row, with_control

CORRECTED = "csls_test_t2i_recall@1"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    monkeypatch.chdir(tmp_path)
    return SmallProject(tmp_path)


def test_an_ensemble_has_a_column_a_control_and_costs(project: SmallProject) -> None:
    params = with_control()
    params["aligners"]["other"]["data"] = "all"
    params["ensembles"] = {"two": {"of": ["plain", "other"]}}
    params["evaluate"]["versus"] = {"two": "plain"}
    settings = project.configure(params)
    project.evaluated("retrieval", (row("plain"), row("blind", value=0.2), row("two")), (difference("two", "plain"),))
    entry = {"aligner": "two", "of": ["plain", "other"], "trainable": 24, "kept": 8, "total": 4321}
    entry |= {"trainable_share": 0.2, "samples_seen": 0, "train_seconds": 0.0}
    costs = {"protocol": "Counted.", "stages": [], "aligners": [entry | {"aligner": "plain"}], "ratios": []}
    project.write("accounting/costs.json", costs | {"ensembles": [entry], "left_out": []})
    page = project.page(settings)
    assert page.count("4,321") == 2
    assert "two − plain" in page
    run = RunData(settings)
    assert run.style.ordered(["two", "plain", "blind"]) == ["blind", "plain", "two"]
    assert run.style.control_of("two") == "blind"
    assert run.style.colour("two") not in (run.style.colour("plain"), run.style.colour("other"), "control")


def test_corrected_scores_have_a_section_and_lead_nothing(project: SmallProject) -> None:
    params = with_control()
    params["evaluate"]["tasks"]["corrected_retrieval"] = RETRIEVAL
    settings = project.configure(params)
    project.evaluated("retrieval", (row("plain"), row("blind", value=0.2)), (difference("plain", "blind"),))
    rows = (row("plain", CORRECTED, 0.6), row("blind", CORRECTED, 0.2))
    changes = (difference("plain", "plain uncorrected", CORRECTED), difference("plain", "blind", CORRECTED))
    project.evaluated("corrected_retrieval", rows, changes)
    page = project.page(settings)
    assert 'id="corrected-retrieval"' in page
    assert "plain − plain uncorrected" in page
    assert {lead.task for lead in Leads(RunData(settings)).leads} == {"retrieval"}
