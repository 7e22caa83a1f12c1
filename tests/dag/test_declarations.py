"""Each stage gets by on what dvc.yaml declares for it: it is run alone, beside nothing else."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.load import TRACE_VARIABLE
from pipeline.paths import WORK_VARIABLE
from tests.dag.project import COPIED, Project

pytestmark = pytest.mark.dag

STAGES = (
    "checkpoint@eye",
    "listing",
    "index@mine",
    "scenes",
    "splits",
    "prompts",
    "encode@mine-eye",
    "encode@mine-words",
    "encode@scenes-eye",
    "encode@scenes-words",
    "encode@training-eye",
    "compare",
    "toy",
    "curate@all",
    "curate@balanced",
    "train@default",
    "train@curated",
    "dense@eye",
    "evaluate@retrieval",
    "evaluate@classification",
    "evaluate@multilingual",
    "evaluate@segmentation",
    "evaluate@long_text",
    "accounting",
    "report",
)
WITHOUT_BACKBONES = tuple(
    name
    for name in STAGES
    if name.split("@")[0] in ("compare", "toy", "curate", "train", "dense", "evaluate", "accounting", "report")
)
WITH_TORCH = ("train@default", "evaluate@retrieval")
SPY = """
import atexit, json, os, sys
atexit.register(lambda: open(os.environ["SPY"], "w").write(json.dumps(sorted(sys.modules))))
"""


def resolved(project: Project) -> dict[str, Any]:
    """The stages of dvc.yaml with their templates filled in, as the lock file of a full run has them."""
    lock: dict[str, Any] = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    return lock


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_alone(project: Project, stage: str, tmp_path: Path) -> None:
    entry = resolved(project)[stage]
    alone = tmp_path / "alone"
    for name in COPIED:
        source, target = project.folder / name, alone / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    shutil.rmtree(alone / ".dvc")
    shutil.copy(project.folder / "params.yaml", alone / "params.yaml")
    for dependency in entry.get("deps", []):
        if dependency["path"].startswith("data/"):
            source, target = project.folder / dependency["path"], alone / dependency["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    spy = tmp_path / "spy"
    spy.mkdir()
    (spy / "sitecustomize.py").write_text(SPY)
    project.run(
        *entry["cmd"].split(),
        cwd=alone,
        PYTHONPATH=str(spy),
        SPY=str(tmp_path / "modules.json"),
        **{TRACE_VARIABLE: str(tmp_path / "trace.jsonl"), WORK_VARIABLE: str(tmp_path / "work")},
    )

    declared = set(entry.get("params", {}).get("params.yaml", {}))
    trace = tmp_path / "trace.jsonl"
    read = {json.loads(line)["param"] for line in trace.read_text().splitlines()} if trace.exists() else set()
    assert read <= declared, f"{stage} reads {read - declared}, which dvc.yaml does not declare"
    assert declared <= read, f"dvc.yaml declares {declared - read} for {stage}, which does not read it"

    for out in entry["outs"]:
        made, known = alone / out["path"], project.folder / out["path"]
        assert made.exists()
        if made.is_dir():
            names = {p.relative_to(made) for p in made.rglob("*") if p.is_file()}
            assert names == {p.relative_to(known) for p in known.rglob("*") if p.is_file()}
    made_files = {p.relative_to(alone) for p in (alone / "data").rglob("*") if p.is_file()}
    places = [Path(e["path"]) for e in [*entry.get("deps", []), *entry["outs"]]]
    strays = {f for f in made_files if not any(f == place or place in f.parents for place in places)}
    assert not strays, f"{stage} writes {strays}, which dvc.yaml does not declare"

    if stage in WITHOUT_BACKBONES:
        modules = set(json.loads((tmp_path / "modules.json").read_text()))
        assert "torch" in modules or stage not in WITH_TORCH, "the list of modules is that of the stage"
        assert not modules & {"transformers", "timm", "sentence_transformers", "open_clip"}
