"""A curation by concepts on the page: reasons, the histogram, and contact sheets with their pictures."""

from pathlib import Path

import pytest

from tests.reporting.small import SmallProject, one_aligner


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallProject:
    monkeypatch.chdir(tmp_path)
    return SmallProject(tmp_path)


def test_reasons_histogram_and_contact_sheets(project: SmallProject) -> None:
    params = one_aligner()
    listed = {"labels": {"dataset": "mine", "label": "category"}}
    rich = {"pool": ["mine"], "view": "eye", "aligner": "none", "images": 3, "concepts": [listed]}
    params["concept_curations"] = {"rich": rich}
    settings = project.configure(params)
    pictures = project.index("pairs", "mine", ())
    names = [f"bird number {number}" for number in range(45)]
    counts = {"dataset": "", "label": "labels", "pool": 12.0, "selected": 3.0, "precision": 0.5}
    project.write(
        "curation/rich/coverage.json",
        {
            "method": "classification",
            "protocol": "How it is done.",
            "concepts": [{"concept": name} | counts for name in names],
            "reasons": {"near duplicate": 7.5, "candidate of its concept": 3.0},
            "histogram": [
                {"samples": "10 to 19", "before": 45, "after": 0},
                {"samples": "2 to 4", "before": 0, "after": 45},
            ],
            "contact_sheet": [{"concept": name, "pictures": pictures} for name in names],
            "sentences": ["3 of 12 are selected."],
        },
    )
    page = project.page(settings)
    for text in ("rich (classification)", "near duplicate", "7.5", "10 to 19", "bird number 0", "How it is done."):
        assert text in page
    assert "Contact sheets of 45 concepts, the first 40" in page
    assert page.count("data:image/jpeg;base64") >= 3 * 40
    assert "bird number 44</td>" in page or "bird number 44" in page.split("All 45 concepts")[1]


def test_one_that_was_not_made_names_its_stage(project: SmallProject) -> None:
    params = one_aligner()
    listed = {"labels": {"dataset": "mine", "label": "category"}}
    rich = {"pool": ["mine"], "view": "eye", "aligner": "none", "images": 3, "concepts": [listed]}
    params["concept_curations"] = {"rich": rich}
    assert "dvc repro curate_concepts@rich" in project.page(project.configure(params))
