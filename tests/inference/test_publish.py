"""Saving, uploading and loading again; and a card that says what the run knows, and no more."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import HTTPError

from pipeline import Aligner
from pipeline.errors import DataError, ModelError
from pipeline.evaluation.results import Row, TaskResult
from tests.inference.conftest import Project, aligner

TEXTS = ["a picture of a guitar", "an anchor"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def result(name: str) -> TaskResult:
    common: dict[str, Any] = {"dataset": "mine", "sd_repeats": None, "n_items": 40, "n_candidates": 10.0}
    common |= {"n_families": 10, "repeats": 2, "language": "en"}
    rows = (
        Row(aligner=name, metric="i2t_recall@1", value=0.4321, chance=0.1, ci=(0.3, 0.6), **common),
        Row(aligner=name, metric="i2t_median_rank", value=3.0, chance=5.0, ci=None, **common),
        Row(aligner="other", metric="i2t_recall@1", value=0.9876, chance=0.1, ci=None, **common),
    )
    return TaskResult("retrieval", "as ever", "query", rows, (), ())


@pytest.fixture
def run(copied: Project) -> Project:
    """A project with scores and costs."""
    result("grid").write(copied.root / "data/results")
    (copied.root / "data/results/old.json").write_text("{}")
    costs = {
        "machine": {"cpus": 2, "cpu": "a | processor", "gpus": []},
        "aligners": [{"aligner": "grid", "total": 1234, "samples_seen": 99}],
    }
    (copied.root / "data/accounting").mkdir()
    (copied.root / "data/accounting/costs.json").write_text(json.dumps(costs))
    (copied.model("grid") / "metrics.json").write_text(json.dumps({"seconds": 7.5}))
    return copied


def test_a_saved_folder_is_the_aligner(run: Project, tmp_path: Path) -> None:
    model = aligner(run)
    model.save_pretrained(tmp_path / "saved")
    expected = files(run.model("grid"))
    found = files(tmp_path / "saved")
    assert {name: found[name] for name in expected} == expected
    assert set(found) - set(expected) == {"README.md"}
    checkpoints = str(run.root / "data/checkpoints")
    for repeat in (0, 1):
        first, second = (
            Aligner.from_pretrained(folder, repeat=repeat, checkpoints=checkpoints, device="cpu")
            for folder in (run.model("grid"), tmp_path / "saved")
        )
        np.testing.assert_array_equal(first.encode(TEXTS), second.encode(TEXTS))
        np.testing.assert_array_equal(first.encode(run.pictures), second.encode(run.pictures))
    model.save(str(tmp_path / "saved"), create_model_card=False)  # over itself
    assert files(tmp_path / "saved") == found


def test_the_card_is_filled_from_the_run(run: Project, tmp_path: Path) -> None:
    (run.root / "data/checkpoints/eye/README.md").write_text("---\nlicense: cc-by-4.0\n---\n# An eye\n")
    model = aligner(run)
    model.model_card_data.set_evaluation_metrics(SimpleNamespace(name="sts"), {"pearson": 0.25})
    model.save_pretrained(tmp_path / "saved", model_name="me/grid")
    card = ModelCard.load(tmp_path / "saved/README.md")
    assert card.data.library_name == "permafrost"
    assert card.data.language == ["en"]
    (entry,) = card.data.eval_results
    assert (entry.dataset_name, entry.metric_type, entry.metric_value) == ("mine", "i2t_recall@1", 0.4321)
    text = card.text
    for part in (
        "from_pretrained('me/grid')",
        "| mine | i2t_recall@1_en | 0.432 | 0.300 to 0.600 | 0.100 | 40 | 2 |",
        "cc-by-4.0",
        "not recorded; see its source",
        "seconds of fitting, all 2 repeats: 7.5",
        "parameters of encoders and head: 1,234",
        r"(a \| processor), no GPU",
        "| SimpleNamespace sts | pearson | 0.25 |",
        '"kind": "freeze-align"',
    ):
        assert part in text, part
    assert "0.988" not in text
    assert str(run.root) not in text.replace(str(run.root / "eye"), "").replace(str(run.root / "words"), "")


def test_without_the_run_the_card_that_came_along_goes_on(run: Project, tmp_path: Path) -> None:
    aligner(run).save_pretrained(tmp_path / "a")
    alone = Aligner.from_pretrained(tmp_path / "a", device="cpu")
    alone.save_pretrained(tmp_path / "b")
    assert files(tmp_path / "b") == files(tmp_path / "a")
    (tmp_path / "a/README.md").unlink()
    Aligner.from_pretrained(tmp_path / "a", device="cpu").save_pretrained(tmp_path / "c")
    text = (tmp_path / "c/README.md").read_text()
    assert "Not recorded in this folder." in text
    assert "0.432" not in text


def test_names_in_a_card_are_text(copied: Project, tmp_path: Path) -> None:
    path = copied.model("grid") / "config.json"
    content = json.loads(path.read_text())
    content["aligner"] = "<script>x</script>\n# a | `b`"
    path.write_text(json.dumps(content))
    aligner(copied).save_pretrained(tmp_path / "saved")
    text = ModelCard.load(tmp_path / "saved/README.md").text
    assert "<script>" not in text.replace(r"\<script", "")
    assert "\n# a" not in text


def test_folders_that_are_not_written_to(copied: Project, tmp_path: Path) -> None:
    model = aligner(copied)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="holds something that is no aligner"):
        model.save_pretrained(tmp_path / "full")
    with pytest.raises(ModelError, match="the folder that the aligner was loaded from"):
        model.save_pretrained(copied.model("grid"))
    assert (copied.model("grid") / "config.json").is_file()
    with pytest.raises(DataError, match="as safetensors and as nothing else"):
        model.save_pretrained(tmp_path / "new", safe_serialization=False)
    with pytest.raises(DataError, match="the run has recorded"):
        model.save_pretrained(tmp_path / "new", train_datasets=["mine"])  # type: ignore[arg-type]
    shutil.rmtree(copied.model("grid"))
    with pytest.raises(ModelError, match="is gone"):
        model.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_local_encoder_is_warned_of(copied: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    aligner(copied).save_pretrained(tmp_path / "saved")
    assert "the image encoder is a local folder" in caplog.text


def test_from_the_cache_of_the_hub_without_a_network(copied: Project, tmp_path: Path) -> None:
    """The layout that huggingface_hub keeps: refs, and snapshots by commit."""
    commit = "c" * 40
    repository = tmp_path / "cache/models--me--grid"
    aligner(copied).save_pretrained(repository / "snapshots" / commit, model_name="me/grid")
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(commit)
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache", "local_files_only": True}
    checkpoints = copied.root / "data/checkpoints"
    for revision in (None, "main", commit):
        model = Aligner.from_pretrained(
            "me/grid", revision=revision, device="cpu", checkpoints=checkpoints, token=False, **options
        )
        np.testing.assert_array_equal(model.encode(TEXTS), aligner(copied).encode(TEXTS))
    with pytest.raises(ModelError, match="could not be fetched"):
        Aligner.from_pretrained("me/other", **options)


class Hub:
    """Stands for `HfApi`: keeps what it was asked for."""

    def __init__(self, token: str | None) -> None:
        self.calls: list[tuple[str, Any]] = [("token", token)]
        self.files: dict[str, bytes] = {}
        self.has_card = False

    def create_repo(self, repo_id: str, private: bool | None, exist_ok: bool) -> Any:
        self.calls.append(("create", (repo_id, private, exist_ok)))
        if repo_id == "me/taken" and not exist_ok:
            raise HTTPError("409 conflict")
        return SimpleNamespace(repo_id=repo_id if "/" in repo_id else f"me/{repo_id}")

    def create_branch(self, repo_id: str, branch: str, exist_ok: bool) -> None:
        self.calls.append(("branch", (repo_id, branch, exist_ok)))

    def file_exists(self, repo_id: str, name: str, revision: str | None) -> bool:
        del repo_id, revision
        return self.has_card and name == "README.md"

    def upload_folder(self, folder_path: str, **options: Any) -> Any:
        self.files = files(Path(folder_path))
        self.calls.append(("upload", options))
        return SimpleNamespace(commit_url="https://hub/commit/1", pr_url="https://hub/pr/2")


def test_an_upload_is_what_is_saved(copied: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hubs: list[Hub] = []

    def api(token: str | None = None) -> Hub:
        hubs.append(Hub(token))
        hubs[-1].has_card = len(hubs) > 1
        return hubs[-1]

    monkeypatch.setattr(huggingface_hub, "HfApi", api)
    model = aligner(copied)
    assert model.push_to_hub("grid", token="t", private=True) == "https://hub/commit/1"
    model.save_pretrained(tmp_path / "saved", model_name="me/grid")
    assert hubs[0].files == files(tmp_path / "saved")
    assert hubs[0].calls[:2] == [("token", "t"), ("create", ("grid", True, False))]
    assert hubs[0].calls[2][1]["commit_message"] == "Add aligner grid"
    assert model.push_to_hub("me/grid", exist_ok=True, revision="dev", commit_message="again") == "https://hub/commit/1"
    assert "README.md" not in hubs[1].files, "a card that is there stays"
    assert ("branch", ("me/grid", "dev", True)) in hubs[1].calls
    assert model.push_to_hub("me/grid", create_pr=True, replace_model_card=True) == "https://hub/pr/2"
    assert "README.md" in hubs[2].files
    with pytest.raises(ModelError, match=r"me/taken could not be uploaded.*409.*exist_ok=True"):
        model.push_to_hub("me/taken")
    with pytest.raises(DataError, match="upload_folder"):
        model.push_to_hub("me/grid", local_model_path="x")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="as nothing else"):
        model.push_to_hub("me/grid", safe_serialization=False)
