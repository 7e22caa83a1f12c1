"""What dvc.yaml says of the code that a stage runs: every file is there, and what decides values is named."""

from typing import Any

import yaml

from tests.dag.project import ROOT


def declared() -> dict[str, list[str]]:
    stages: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage)["deps"] for name, stage in stages.items()}


def test_the_code_that_stages_depend_on_is_there() -> None:
    for stage, paths in declared().items():
        code = [path for path in paths if path.startswith(("pipeline/", "stages/"))]
        assert f"stages/{stage.partition('_')[0]}.py" in code
        assert not [path for path in code if not (ROOT / path).exists()], stage


def test_of_the_feature_room_a_stage_depends_on_what_decides_values() -> None:
    """The fingerprint decides what is encoded, the shuffle the order of training, fusing what a row holds."""
    room = {stage: sorted(p for p in paths if p.startswith("pipeline/features")) for stage, paths in declared().items()}
    assert {stage: paths for stage, paths in room.items() if paths} == {
        **{f"encode{group}": ["pipeline/features/fingerprint.py"] for group in ("", "_scenes", "_prompts")},
        **{
            name: ["pipeline/features/shuffle.py", "pipeline/features/stream.py"]
            for name in ("train", "train_auto", "train_added")
        },
        "train_fused": [f"pipeline/features/{name}.py" for name in ("fused", "shuffle", "stream")],
    }
