"""What the hub answers, and what does not load, in words a user can act on; the hub is a small server of HTTP."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.manifest import MANIFEST
from pipeline.encoders.text import load_text_encoder
from pipeline.errors import CheckpointError
from tests.dag import tiny
from tests.encoders.conftest import spec, view

ANSWERS = {  # model -> status and the hub's own error code
    "no/such": (404, "RepoNotFound"),
    "some/gated": (403, "GatedRepo"),
    "some/model": (404, "RevisionNotFound"),
    "some/private": (401, "RepoNotFound"),
}


class Hub(BaseHTTPRequestHandler):
    """Refuses as the hub does, by headers."""

    def do_GET(self) -> None:
        name = next((name for name in ANSWERS if f"/models/{name}" in self.path), "")
        status, code = ANSWERS.get(name, (500, "Unknown"))
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", f"{code} of {name}")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.mark.parametrize(
    ("model", "revision", "message"),
    [
        ("no/such", None, r"no/such \(revision null\).*there is no such model, or it is private. Correct `model`"),
        ("some/private", None, r"it is private.*`hf auth login`"),
        ("some/gated", None, r"it is gated. Accept its terms at https://huggingface.co/some/gated.*`hf auth login`"),
        ("some/model", "v9", r"\(revision v9\).*it has no such revision"),
        ("not a name", None, r"there is no such model"),
    ],
)
def test_what_the_hub_refuses(
    model: str, revision: str | None, message: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint=server))
    with pytest.raises(CheckpointError, match=message):
        materialise(spec("image", "transformers", model, "hub", revision=revision), tmp_path / "x")
    assert not (tmp_path / "x" / MANIFEST).exists()


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    with pytest.raises(CheckpointError, match=r"no answer from it \(.*Check the network.*`source: local`"):
        materialise(spec("image", "transformers", "some/model", "hub"), tmp_path / "x")


@pytest.fixture
def eye(tmp_path: Path) -> Path:
    tiny.write_image_checkpoint(tmp_path / "origin", 0)
    return tmp_path / "origin"


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_of_another_size_than_the_configuration(eye: Path, tmp_path: Path) -> None:
    rewrite(eye / "config.json", hidden_size=24)
    entry = spec("image", "transformers", str(eye))
    materialise(entry, tmp_path / "made")
    with pytest.raises(CheckpointError, match=r"do not load into Dinov2Model.*config.json and the weights belong"):
        load_image_encoder(tmp_path / "made", entry, view(resolution=28), "cpu")


def test_weights_of_another_architecture(eye: Path, tmp_path: Path) -> None:
    tiny.write_text_checkpoint(tmp_path / "words", 0)
    shutil.copyfile(tmp_path / "words" / "model.safetensors", eye / "model.safetensors")
    entry = spec("image", "transformers", str(eye))
    materialise(entry, tmp_path / "made")
    with pytest.raises(CheckpointError, match="lacks weights that Dinov2Model needs"):
        load_image_encoder(tmp_path / "made", entry, view(resolution=28), "cpu")


def test_a_damaged_file(eye: Path, tmp_path: Path) -> None:
    content = (eye / "model.safetensors").read_bytes()
    (eye / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="does not fit its header .*fetch it again"):
        materialise(spec("image", "transformers", str(eye)), tmp_path / "made")


def test_weights_of_another_model(eye: Path, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3)}, eye / "model.safetensors", metadata={"format": "pt"})
    entry = spec("image", "transformers", str(eye))
    materialise(entry, tmp_path / "made")
    with pytest.raises(CheckpointError, match="lacks weights that Dinov2Model needs"):
        load_image_encoder(tmp_path / "made", entry, view(resolution=28), "cpu")


def test_a_text_model_of_another_size(tmp_path: Path) -> None:
    tiny.write_text_checkpoint(tmp_path / "words", 0)
    rewrite(tmp_path / "words" / "config.json", intermediate_size=48)
    entry = spec("text", "transformers", str(tmp_path / "words"), pooling="mean")
    materialise(entry, tmp_path / "made")
    with pytest.raises(CheckpointError, match="do not load into AutoModel"):
        load_text_encoder(tmp_path / "made", entry, view(), "cpu")


def test_a_model_type_that_nobody_knows(eye: Path, tmp_path: Path) -> None:
    rewrite(eye / "config.json", model_type="dinov9")
    with pytest.raises(CheckpointError, match="expected a config.json that transformers knows"):
        materialise(spec("image", "transformers", str(eye)), tmp_path / "made")


def test_a_timm_folder_of_another_architecture(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    origin.mkdir()
    weights = timm.create_model("test_vit", num_classes=0).state_dict()
    save_file(weights, origin / "model.safetensors", metadata={"format": "pt"})
    (origin / "config.json").write_text(json.dumps({"architecture": "test_vit2", "num_classes": 0}))
    with pytest.raises(CheckpointError, match="timm cannot load .* as the architecture that its config.json names"):
        materialise(spec("image", "timm", str(origin)), tmp_path / "made")


def test_a_pickle_in_several_files_is_converted_by_one_command(eye: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    weights = load_file(eye / "model.safetensors")
    names = sorted(weights)
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        torch.save({name: weights[name] for name in part}, eye / f"pytorch_model-0000{number}-of-00002.bin")
    (eye / "model.safetensors").unlink()
    entry = spec("image", "transformers", str(eye))
    with pytest.raises(CheckpointError, match="only the pickle") as error:
        materialise(entry, tmp_path / "made")
    command = str(error.value).split("with: python ", 1)[1]
    subprocess.run(f'"{sys.executable}" {command}', shell=True, check=True, cwd=eye)
    materialise(entry, tmp_path / "made")
    again = load_file(tmp_path / "made" / "model.safetensors")
    assert again.keys() == weights.keys()
    assert all(torch.equal(again[name], weights[name]) for name in names)
    load_image_encoder(tmp_path / "made", entry, view(resolution=28), "cpu")


def test_an_encoder_decoder_names_the_way_round(tmp_path: Path) -> None:
    from tests.encoders.tiny_models import words

    config = hf.T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    hf.T5Model(config).save_pretrained(tmp_path / "t5")
    words().save_pretrained(tmp_path / "t5")
    with pytest.raises(CheckpointError, match="encoder-decoder; use a sentence-transformers folder"):
        materialise(spec("text", "transformers", str(tmp_path / "t5"), pooling="mean"), tmp_path / "made")
