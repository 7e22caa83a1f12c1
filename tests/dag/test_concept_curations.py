"""A curation by concepts, in the DAG: what runs when it is added, changed, or when a list of names is edited."""

from collections import Counter

import pyarrow.parquet as pq
import pytest

from tests.dag.project import Project
from tests.dag.reruns import edited, rerun

pytestmark = pytest.mark.dag

HEAD = {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {"shrink": 1.0}}}


def test_it_runs_for_what_it_reads_and_an_aligner_trains_on_it(project: Project) -> None:
    params = project.params()
    rich = {"pool": ["mine"], "view": "eye", "aligner": "none", "images": 20, "concepts": [{"file": "things.txt"}]}
    names = project.folder / "concepts" / "things.txt"
    names.parent.mkdir(exist_ok=True)
    names.write_text("anchor\nbridge\n")
    taught = {"views": ["eye", "words"], "data": "rich", "head": HEAD}
    stages = ("curate_concepts@rich", "train@taught")
    with (
        edited(project, "concept_curations", {"rich": rich}),
        edited(project, "aligners", params["aligners"] | {"taught": taught}),
    ):
        assert rerun(project, *stages) == (set(stages), Counter())
        outcome = pq.read_table(project.folder / "data/curation/rich/outcome.parquet")
        kept = outcome.filter(outcome["kept"])
        assert len(kept) > 0
        assert set(kept["concept"].to_pylist()) <= {"anchor", "bridge"}
        assert rerun(project, *stages) == (set(), Counter())
        names.write_text("anchor\ncandle\n")
        assert rerun(project, *stages) == (set(stages), Counter())
        with edited(project, "concept_curations", {"rich": rich | {"hygiene": {"words": [1, 9]}}}):
            assert "curate_concepts@rich" in rerun(project, *stages)[0]
        with edited(project, "concept_curations", {"rich": rich | {"hygiene": {"words": [1, 9]}, "engine": "ray"}}):
            assert "curate_concepts@rich" not in rerun(project, "curate_concepts@rich")[0]
