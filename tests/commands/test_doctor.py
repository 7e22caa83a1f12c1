"""`permafrost doctor`: a line for each check, and an error where a run would fail."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.commands.conftest import Command
from tests.inference.conftest import Project


def params(here: Project) -> dict[str, Any]:
    eye, words = ({"modality": modality, "source": "local", "model": str(here.root / name), "loader": "transformers"}
                  for name, modality in (("eye", "image"), ("words", "text")))  # fmt: skip
    return {
        "encoders": {"eye": eye, "words": {**words, "pooling": "mean", "prefix": "a "}},
        "views": {"eye": {"encoder": "eye", "resolution": 42}, "words": {"encoder": "words"}},
        "datasets": {"mine": {"source": "folder", "path": str(here.root / "pictures")}},
        "stores": {"pairs": {f"mine-{v}": {"dataset": "mine", "view": v, "encoder": v} for v in ("eye", "words")}},
        "curations": {"all": {"pool": ["mine"], "view": "eye"}},
        "aligners": {
            "mine": {"views": ["eye", "words"], "data": "all", "head": {"kind": "closed-form", "forms": {"cca": {}}}}
        },
    }


@pytest.fixture
def states(here: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, permafrost: Command) -> Any:
    """Runs doctor on changed parameters in a folder of its own; the state and text of each check by name."""
    monkeypatch.chdir(tmp_path)

    def run(change: Any = None, *arguments: str, code: int = 0) -> dict[str, tuple[str, str]]:
        content = params(here)
        if change:
            change(content)
        Path("params.yaml").write_text(yaml.safe_dump(content))
        answer = permafrost.json("doctor", *arguments, code=code)
        assert answer["well"] is (code == 0)
        return {check["name"]: (check["state"], check["text"]) for check in answer["checks"]}

    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name != "nvidia-smi" else None)
    return run


def test_a_batch_goes_through_every_encoder(states: Any) -> None:
    found = states()
    assert found["encoder eye"] == ("ok", found["encoder eye"][1])
    assert found["encoder eye"][1].startswith("16 wide on ")
    assert found["encoder words"][0] == "ok"
    assert found["params.yaml"][1] == "valid: 1 data sets, 2 encoders, 1 aligners"
    assert found["commands"][0] == "warning", "it is no DVC repository"


def test_what_would_fail_is_an_error_and_the_rest_is_still_checked(states: Any) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["encoders"]["eye"]["model"] = "/nowhere"
        content["datasets"]["mine"]["path"] = "/nowhere/*.jpg"

    found = states(spoil, code=1)
    assert found["encoder eye"][0] == "error"
    assert "/nowhere" in found["encoder eye"][1]
    assert found["data set mine"][0] == "error"
    assert found["encoder words"][0] == "ok"


def test_it_can_be_cut_short(states: Any) -> None:
    assert states(None, "--seconds", "0")["encoder eye"] == ("warning", "not tried: 0 seconds are over (--seconds)")
    assert not any(name.startswith("encoder") for name in states(None, "--no-encoders"))


def test_a_wrong_params_yaml_and_none_at_all(states: Any, permafrost: Command) -> None:
    found = states(lambda content: content.update(sed=1), code=1)
    assert found["params.yaml"][0] == "error"
    assert "sed" in found["params.yaml"][1]
    Path("params.yaml").unlink()
    assert "permafrost init" in permafrost("doctor")
