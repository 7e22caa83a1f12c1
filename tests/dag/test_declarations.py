"""Each stage gets by on what dvc.yaml declares for it: it is run alone, beside nothing else."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.work_folder import WORK_VARIABLE
from tests.dag.project import COPIED, ROOT, Project
from tests.dag.tiny import tiny_params

pytestmark = pytest.mark.dag

TEMPLATES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
# in test_auto.py, test_fused.py, test_added.py and test_concept_curations.py
ELSEWHERE = {"train_auto", "train_fused", "train_added", "curate_concepts"}
EVERY_ITEM = ("encode", "curate", "train", "evaluate")  # of other stages one item stands for all
BEHIND_ENCODE = ("compare", "toy", "predictors", "curate", "train", "dense", "evaluate", "accounting", "report")
WITH_TORCH = ("train", "evaluate", "predictors")
ALIKE = ("train@control", "curate@all", "evaluate@classification", "evaluate@multilingual", "evaluate@long_text")


def stages() -> Iterator[str]:
    """The stages of dvc.yaml in the small project, with their items."""
    params = tiny_params(Path("outside"), 1)
    for name, template in TEMPLATES.items():
        if "foreach" not in template:
            yield name
            continue
        items: Any = params
        for part in template["foreach"].removeprefix("${").removesuffix("}").split("."):
            items = items[part]
        for item in list(items)[: None if name in EVERY_ITEM else 1]:
            yield f"{name}@{item}"


SPY = """
import atexit, json, os, sys
atexit.register(lambda: open(os.environ["SPY"], "w").write(json.dumps(sorted(sys.modules))))
"""


def resolved(project: Project) -> dict[str, Any]:
    """The stages of dvc.yaml with their templates filled in, as the lock file of a full run has them."""
    lock: dict[str, Any] = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]
    return lock


@pytest.mark.parametrize("stage", list(stages()))
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
    kind = stage.partition("@")[0]
    spied = kind in BEHIND_ENCODE and stage not in ALIKE
    if spied:
        (tmp_path / "spy").mkdir()
        (tmp_path / "spy" / "sitecustomize.py").write_text(SPY)
    spying = {"PYTHONPATH": str(tmp_path / "spy"), "SPY": str(tmp_path / "modules.json")} if spied else {}
    project.run(*entry["cmd"].split(), cwd=alone, **spying, **{WORK_VARIABLE: str(tmp_path / "work")})

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

    if spied:
        modules = set(json.loads((tmp_path / "modules.json").read_text()))
        assert "torch" in modules or kind not in WITH_TORCH, "the list of modules is that of the stage"
        assert not modules & {"transformers", "timm", "sentence_transformers", "open_clip"}


def test_every_stage_depends_on_its_own_settings_and_on_no_parameter(project: Project) -> None:
    for stage, entry in resolved(project).items():
        assert "params" not in entry, f"{stage}: the settings say what it reads"
        settings = {one["path"] for one in entry["deps"] if one["path"].startswith("data/settings")}
        kind, _, item = stage.partition("@")
        kind = "encode" if kind.startswith("encode") else kind
        wanted = f"data/settings/{kind}/{item}.json" if item else f"data/settings/{kind}.json"
        assert settings == (set() if stage == "settings" else {wanted}), stage


def test_every_stage_of_dvc_yaml_is_one_of_the_project(project: Project) -> None:
    assert {stage.partition("@")[0] for stage in resolved(project)} == set(TEMPLATES) - ELSEWHERE
