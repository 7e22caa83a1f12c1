"""The folder of an aligner may come from anybody: what it names is no path, and no reason to ask the hub."""

import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from pipeline.encoders import checkpoint as checkpoint_module
from pipeline.errors import CheckpointError, ModelError, PermafrostError
from tests.inference.conftest import Project, aligner

NAMES = {
    "parent": "..",
    "below a parent": "x/..",
    "further up": "../../..",
    "absolute": "/etc",
    "root": "/",
    "zero byte": "a\0b",
    "long": "n" * 300,
    "dot": ".",
    "empty": "",
    "newline": "a\nb",
    "home": "~",
}


def record(project: Project, side: str, **described: Any) -> None:
    path = project.model("grid") / "config.json"
    content = json.loads(path.read_text())
    content["fingerprints"][side]["described"] |= described
    path.write_text(json.dumps(content))


@pytest.fixture
def bare(copied: Project, tmp_path: Path) -> Project:
    """A project without checkpoints, beside a work folder that holds one made earlier, and other things."""
    shutil.rmtree(copied.root / "data/checkpoints")
    earlier = tmp_path / "fresh-work/checkpoints/0000-image"
    earlier.mkdir(parents=True)
    (earlier / "precious").write_text("an encoder")
    (tmp_path / "fresh-work/journal.jsonl").write_text("{}")
    return copied


def kept(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "fresh-work").rglob("*"))


OF_THE_USER = {"parent", "below a parent", "further up", "absolute", "root", "dot", "empty", "home"}  # if they say so
CASES = [
    pytest.param(name, source, trusting, id=f"{key}, {source}{', trusted' * trusting}")
    for key, name in NAMES.items()
    for source in ("embedded", "local", "hub")
    for trusting in (False, True)
    if not (trusting and source == "local" and key in OF_THE_USER)
]


@pytest.mark.parametrize(("name", "source", "trusting"), CASES)
def test_a_recorded_name_is_never_a_place_to_write_or_delete(
    name: str, source: str, trusting: bool, bare: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    record(bare, "image", source=source, model=name, revision="a" * 40)
    before = kept(tmp_path)
    with pytest.raises(PermafrostError):
        aligner(bare, trust=[name] if trusting else ()).encode_image(bare.pictures[0])
    assert kept(tmp_path) == before, "nothing is lost, and nothing half made is left"


def test_a_model_that_is_made_lies_under_a_constant_name_whatever_it_is_called(
    bare: Project, tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the name is one that the user trusts: the source is read from there, and nothing else."""
    places: list[Path] = []
    original = checkpoint_module.materialise

    def watched(entry: Any, folder: Path) -> Any:
        places.append(folder)
        return original(entry, folder)

    monkeypatch.setattr("pipeline.inference.checkpoints.materialise", watched)
    name = f"{project.root}/eye/../words/.."  # ends in "..", and is no model
    record(bare, "image", source="local", model=name)
    with pytest.raises(CheckpointError):
        aligner(bare, trust=name).encode_image(bare.pictures[0])
    (place,) = places
    assert place.name == "fresh"
    assert place.parent.parent == tmp_path / "fresh-work/checkpoints"
    assert (tmp_path / "fresh-work/checkpoints/0000-image/precious").is_file()


def test_no_repository_is_asked_for_unless_the_user_names_it(bare: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Api:
        def model_info(self, name: str, **_: Any) -> Any:
            asked.append(name)
            raise OSError("no network here")

        list_repo_files = model_info

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    for side, use in (("image", lambda a: a.encode_image(bare.pictures[0])), ("text", lambda a: a.encode_text("x"))):
        record(bare, side, source="hub", model="evil/tracker", revision=None)
        for trust in ((), "other/model", ["evil", "tracker", "evil/other"]):
            with pytest.raises(
                CheckpointError, match=r"'evil/tracker' of the .* hub has not been asked.*trust=\['evil/tr"
            ):
                use(aligner(bare, trust=trust))
        assert asked == []
        with pytest.raises(CheckpointError, match="no network here"):
            use(aligner(bare, trust="evil/tracker"))
        assert asked == ["evil/tracker"]
        asked.clear()


@pytest.mark.parametrize("name", ["hf-hub:timm/vit", "vit"])
def test_a_repository_may_be_trusted_under_each_of_its_names(
    name: str, bare: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    record(bare, "image", source="hub", model=name, revision="a" * 40)
    path = bare.model("grid") / "config.json"
    content = json.loads(path.read_text())
    content["fingerprints"]["image"]["compared"]["loader"] = "timm"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="has not been asked"):
        aligner(bare, trust="timm/other").encode_image(bare.pictures[0])
    for trusted in (name, "timm/vit"):
        with pytest.raises(CheckpointError, match="cannot be made again"):
            aligner(bare, trust=trusted).encode_image(bare.pictures[0])


def test_an_aligner_with_its_checkpoints_needs_no_network_and_no_trust(
    copied: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something was asked of the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for side in ("image", "text"):
        record(copied, side, source="hub", model="evil/tracker", revision=None)
    loaded = aligner(copied)
    assert loaded.encode_image(copied.pictures[0]).shape == loaded.encode_text("a guitar").shape == (1, 12)


@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "deep", "loop"])
def test_a_config_that_is_no_plain_file_of_json_is_refused_at_once(kind: str, copied: Project) -> None:
    path = copied.model("grid") / "config.json"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    elif kind == "deep":
        path.write_text("[" * 10**6)
    else:
        path.symlink_to(path)
    with pytest.raises(ModelError, match=r"config\.json"):
        aligner(copied)


@pytest.mark.parametrize(
    "widths", [{"image": 10**12, "text": 16}, {"image": "16", "text": 16}, {"image": -1, "text": 16}]
)
def test_widths_that_are_none_are_refused(widths: dict[str, Any], copied: Project) -> None:
    path = copied.model("grid") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"widths": widths}))
    with pytest.raises(ModelError, match="widths"):
        aligner(copied)


@pytest.mark.parametrize("spoil", ["flip", "foreign", "missing", "pipe", "outside"])
def test_a_checkpoint_that_is_not_what_its_manifest_lists_is_refused(
    spoil: str, copied: Project, tmp_path: Path
) -> None:
    eye = copied.root / "data/checkpoints/eye"
    weights = eye / "model.safetensors"
    if spoil == "flip":
        state, content = weights.stat(), bytearray(weights.read_bytes())
        content[-100] ^= 8
        weights.write_bytes(content)
        os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif spoil == "foreign":
        (eye / "model-00001-of-00002.safetensors").write_bytes(b"")
    elif spoil == "missing":
        (eye / "preprocessor_config.json").unlink()
    elif spoil == "pipe":
        os.mkfifo(eye / "added_tokens.json")
    else:
        (tmp_path / "outside").mkdir()
        (eye / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(
        CheckpointError, match=r"data/checkpoints/eye( .*pipeline\.store repair|/.* should be a plain file.*Remove it)"
    ):
        aligner(copied).encode_image(copied.pictures[0])
