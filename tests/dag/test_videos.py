"""Videos in the DAG, from files to figures: indexed, encoded, joined with texts, measured beside a control."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dag import tiny
from tests.dag.project import Project
from tests.dag.reruns import rerun
from tests.videos.films import write

pytestmark = [pytest.mark.dag, pytest.mark.long]
SCORES = ("evaluate@cross_retrieval", "evaluate@cross_classification")


def parameters(outside: Path) -> dict[str, Any]:
    eyes = {"watch": "eye-a", "control-watch": "eye-b"}
    local = {"source": "local", "loader": "transformers"}
    head = {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {"shrink": 1.0}}}
    views = {name: {"encoder": name, "frames": 4, "resolution": 28} for name in eyes}
    return {
        "seed": 0,
        "encoders": {
            **{name: {**local, "modality": "video", "model": str(outside / of), "pooling": "cls"}
               for name, of in eyes.items()},
            "words": local | {"modality": "text", "model": str(outside / "words-a"), "pooling": "mean"},
        },
        "views": views | {"words": {"encoder": "words"}},
        "datasets": {"films": {"source": "folder", "path": str(outside / "films")}},
        "stores": {
            "pairs": {f"films-{name}": {"dataset": "films", "view": name, "encoder": name}
                      for name in (*eyes, "words")},
            "prompts": {"classnames-words": {"dataset": "classnames", "view": "words", "encoder": "words"}},
        },
        "splits": {"repeats": 2, "validation": 0.2, "test": 0.2, "largest_family": 0.5},
        "curations": {"seen": {"pool": ["films"], "view": "watch"}},
        "prompts": {"sets": {"single": ["a {}."]}},
        "aligners": {
            name: {"views": [view, "words"], "data": "seen", "head": head}
            for name, view in (("films", "watch"), ("control", "control-watch"))
        },
        "evaluate": {
            "control": {"films": "control"},
            "tasks": {
                "cross_retrieval": {"sets": [{"dataset": "films", "between": ["video", "text"]}], "recall_at": [1, 5]},
                "cross_classification": {"modality": "video", "classes": [{"dataset": "films", "label": "concept"}]},
            },
        },
        "hydra": tiny.HYDRA,
    }  # fmt: skip


def test_videos_go_from_files_to_figures(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    tiny.write_image_checkpoint(outside / "eye-a", 0)
    tiny.write_image_checkpoint(outside / "eye-b", 1)
    tiny.write_text_checkpoint(outside / "words-a", 2)
    count = write(outside / "films")
    project = Project.started(tmp_path / "work", outside, parameters(outside))
    stages, rows = rerun(project, *SCORES, "accounting", "report")
    assert {"index@films", "encode@films-watch", "train@films", *SCORES, "report"} <= stages
    assert rows["films-watch"] == rows["films-control-watch"] == count
    found = json.loads((project.folder / "data/results/cross_retrieval.json").read_text())
    metrics = {(row["aligner"], row["metric"]) for row in found["rows"]}
    assert metrics >= {(name, f"video_{way}_recall@5") for name in ("films", "control") for way in ("v2t", "t2v")}
    assert all(row["ci"] and row["chance"] > 0 for row in found["rows"])
    costs = json.loads((project.folder / "data/accounting/costs.json").read_text())
    assert {"video_encoder", "text_encoder"} <= {*costs["aligners"][0]}
    page = (project.folder / "data/report/index.html").read_text()
    assert "video: video to text, R@5" in page
    assert rerun(project, *SCORES) == (set(), {})
