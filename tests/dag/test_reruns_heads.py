"""The contract of what reruns when, downstream of the features: no setting here may run a backbone."""

from collections import Counter

import pytest

from tests.dag.project import Project
from tests.dag.reruns import (
    COMPUTED,
    CURATION,
    DOWNSTREAM,
    ENDS,
    EVALUATION,
    LEAVES,
    SCORES,
    STUDIES,
    TRAINING,
    edited,
    rerun,
)

pytestmark = pytest.mark.dag


def test_a_learning_rate_trains_and_evaluates_and_computes_nothing_again(project: Project) -> None:
    with edited(project, "train.lr", 0.002):
        assert rerun(project) == (DOWNSTREAM - COMPUTED, Counter())


def test_a_value_of_a_closed_form_computes_it_and_evaluates(project: Project) -> None:
    with edited(project, "aligners.default.head.forms.kernel-ridge.ridge", 3.0):
        assert rerun(project, *ENDS) == ({"train@default", SCORES}, Counter())


@pytest.mark.parametrize(
    ("key", "value"), [("long_text", None), ("dense_head", None), ("dense", "eye-dense"), ("dense_head", "eye")]
)
def test_how_an_aligner_is_evaluated_fits_nothing(project: Project, key: str, value: str | None) -> None:
    evaluation = project.params()["aligners"]["default"]["evaluation"]
    with edited(project, "aligners.default.evaluation", {**evaluation, key: value}):
        stages, rows = rerun(project, *ENDS)
    assert stages == (set() if evaluation[key] == value else {SCORES})
    assert rows == Counter()


def test_one_task_is_evaluated_again_alone(project: Project) -> None:
    with edited(project, "evaluate.tasks.long_text.recall_at", [1, 3]):
        assert rerun(project) == ({"evaluate@long_text", *LEAVES}, Counter())


def test_a_default_that_is_written_out_runs_nothing(project: Project) -> None:
    with edited(project, "aligners.curated.head", {"kind": "freeze-align", "local_tokens": "grid"}):
        stages, rows = rerun(project)
    assert (stages, rows) == ({"report"}, Counter()), "the page shows params.yaml"


def test_the_split_seed_runs_no_backbone(project: Project) -> None:
    with edited(project, "seed", 7):
        stages, rows = rerun(project, *ENDS)
    run = TRAINING | STUDIES | CURATION | {SCORES}
    assert stages >= run
    assert stages - run <= {"splits", "prompts", "dense@eye"}
    assert rows == Counter()


def test_a_curation_trains_only_its_aligner(project: Project) -> None:
    with edited(project, "curations.balanced.images", 20):
        stages, rows = rerun(project, *ENDS)
    assert stages == {"curate@balanced", "train@curated", SCORES}
    assert rows == Counter()


def test_a_dense_head_is_fitted_alone(project: Project) -> None:
    with edited(project, "dense_heads.eye.regularisation", 1.0):
        assert rerun(project, *ENDS) == ({"dense@eye", SCORES}, Counter())


def test_a_study_trains_nothing(project: Project) -> None:
    with edited(project, "toy.mine.iterations", 12):
        assert rerun(project, *ENDS) == ({"toy@mine"}, Counter())
    with edited(project, "compare.mine.neighbours", 4):
        assert rerun(project) == ({*STUDIES, *LEAVES}, Counter())


def test_an_evaluation_setting_trains_nothing(project: Project) -> None:
    with edited(project, "evaluate.examples", 2):
        assert rerun(project) == (EVALUATION, Counter())


def test_the_page_is_written_again_alone(project: Project) -> None:
    path = next((project.folder / "pipeline" / "reporting").rglob("*.html*"))
    before = path.read_text()
    path.write_text(before + "<!-- edited -->\n")
    stages, rows = rerun(project)
    path.write_text(before)
    assert (stages, rows) == ({"report"}, Counter())
