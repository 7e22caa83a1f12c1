"""What is not there is named on the page; what is damaged is named in an error."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import DataError
from pipeline.reporting import write_report

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_project_without_results_has_a_page_that_says_so(project: Path) -> None:
    page = write_report(project / "data" / "report").read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert page.count("dvc repro") >= 5


def test_the_same_inputs_give_the_same_bytes(project: Path) -> None:
    first = write_report(project / "one").read_bytes()
    assert write_report(project / "two").read_bytes() == first


def test_damaged_json_is_named(project: Path) -> None:
    path = project / "data" / "results" / "retrieval.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"rows": [')
    with pytest.raises(DataError, match=r"data/results/retrieval.json cannot be read as JSON"):
        write_report(project / "data" / "report")


def test_a_result_of_another_form_is_named(project: Path) -> None:
    path = project / "data" / "results" / "retrieval.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(DataError, match=r"data/results/retrieval.json"):
        write_report(project / "data" / "report")
