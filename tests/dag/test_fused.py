"""An aligner of a fused view, in the DAG: what runs when it is added, and when one of its members is swapped."""

import json
from collections import Counter

import pytest

from tests.dag.project import Project
from tests.dag.reruns import SCORES, edited, rerun

pytestmark = pytest.mark.dag

HEAD = {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {"shrink": 1.0}}}


def test_a_fusion_encodes_nothing_and_a_swapped_member_itself_alone(project: Project) -> None:
    params = project.params()
    joint = {"views": ["both", "words"], "data": "all", "head": HEAD}
    with (
        edited(project, "views", params["views"] | {"both": {"concat": ["eye", "blind"]}}),
        edited(project, "fused", {"joint": joint}),
    ):
        assert rerun(project, "train_fused@joint", SCORES) == ({"train_fused@joint", SCORES}, Counter())
        folder = project.folder / "data/models/joint"
        config = json.loads((folder / "config.json").read_text())
        assert list(config["fingerprints"]["image"]["members"]) == ["eye", "blind"]
        assert not (project.folder / "data/features/pairs/both").exists(), "nothing is stored of a fusion"
        scores = json.loads((project.folder / "data/results/retrieval.json").read_text())
        assert {row["aligner"] for row in scores["rows"]} == {*params["aligners"], "joint"}
        small = {"encoder": "eye", "resolution": 42, "tier": "cls"}
        views = params["views"] | {"small": small, "both": {"concat": ["eye", "small"]}}
        stores = params["stores"]["pairs"] | {"mine-small": {"dataset": "mine", "view": "small", "encoder": "eye"}}
        with edited(project, "views", views), edited(project, "stores.pairs", stores):
            stages, rows = rerun(project, "train_fused@joint", SCORES)
        assert stages == {"encode@mine-small", "train_fused@joint", SCORES}
        assert rows == Counter({"mine-small": project.pictures - 1})
        with edited(project, "views", params["views"] | {"both": {"concat": ["eye", "blind"], "scale": "whiten"}}):
            assert rerun(project, "train_fused@joint") == ({"train_fused@joint"}, Counter())
