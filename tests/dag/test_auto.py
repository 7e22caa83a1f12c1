"""An aligner whose views a comparison chooses, in the DAG: what runs when, and never a backbone."""

import json
from collections import Counter

import pytest

from tests.dag.project import Project
from tests.dag.reruns import SCORES, STUDIES, edited, rerun

pytestmark = [pytest.mark.dag, pytest.mark.long]


def test_an_open_aligner_is_fitted_after_its_comparison_and_again_when_the_order_changes(project: Project) -> None:
    head = project.params()["aligners"]["default"]["head"]
    with edited(project, "auto", {"best": {"compare": "mine", "data": "all", "head": head}}):
        assert rerun(project, "train_auto@best", SCORES) == ({"train_auto@best", SCORES}, Counter())
        config = json.loads((project.folder / "data/models/best/config.json").read_text())
        assert config["views"] == {"image": "eye", "text": "words"}
        assert (config["choices"]["views"]["compare"], config["choices"]["views"]["of"]) == ("mine", 1)
        assert set(config["choices"]["views"]["fingerprints"]) == {"image", "text"}
        with edited(project, "compare.mine.neighbours", 7):  # other figures, the same order
            assert rerun(project, *sorted(STUDIES), "train_auto@best") == (STUDIES, Counter())
        with edited(project, "compare.mine.choose_by", "mutual_knn"):
            assert rerun(project, *sorted(STUDIES), "train_auto@best") == ({*STUDIES, "train_auto@best"}, Counter())
