"""A missing input is named on the page, a damaged one in an error; the page asks for nothing and needs no torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import ReportSettings, load_config
from pipeline.errors import DataError
from pipeline.reporting import write_report
from tests.reporting.small import ROOT

_WITHOUT_TORCH = """
import sys
from pathlib import Path
from pipeline.config import load_config
from pipeline.reporting import write_report
write_report(Path("out"), load_config().settings("report"))
print(sorted({"torch", "transformers"} & set(sys.modules)))
"""


@pytest.fixture
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReportSettings:
    """Settings of this repository's params.yaml, in a folder without results."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    settings = load_config().settings("report")
    assert isinstance(settings, ReportSettings)
    return settings


def test_a_project_without_results_has_a_page_that_says_so(default: ReportSettings) -> None:
    page = write_report(Path("data/report"), default).read_text(encoding="utf-8")
    assert "Content-Security-Policy" in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    for command in (
        "evaluate@retrieval",
        "train@default",
        "compare@stamps",
        "toy@all",
        "predictors@why-cka",
        "curate@random",
        "accounting",
    ):
        assert f"dvc repro {command}" in page


def test_the_same_inputs_give_the_same_bytes(default: ReportSettings) -> None:
    first = write_report(Path("one"), default).read_bytes()
    assert write_report(Path("two"), default).read_bytes() == first


@pytest.mark.parametrize(
    ("content", "message"),
    [('{"rows": [', "retrieval.json cannot be read as JSON"), (json.dumps({"schema": 99}), "retrieval.json# has no")],
)
def test_a_damaged_result_is_named(default: ReportSettings, content: str, message: str) -> None:
    path = Path("data/results/retrieval.json")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(DataError, match=message):
        write_report(Path("data/report"), default)


@pytest.mark.usefixtures("default")
def test_the_report_imports_no_torch() -> None:
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{_WITHOUT_TORCH}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"
