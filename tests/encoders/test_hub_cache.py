"""Models that lie in the cache of Hugging Face, with and without a network; the hub is a small server of HTTP."""

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.manifest import Manifest
from pipeline.errors import CheckpointError
from tests.dag import tiny
from tests.encoders.conftest import spec

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = ["README.md", "config.json", "model.safetensors", "onnx/model.safetensors", "preprocessor_config.json"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of some/eye as `hf download` leaves it: links to blobs, and a ref for `main`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    tiny.write_image_checkpoint(tmp_path / "origin", 0)
    repository = tmp_path / "hub/models--some--eye"
    snapshot = repository / "snapshots" / COMMIT
    for part in (snapshot, repository / "blobs", repository / "refs"):
        part.mkdir(parents=True)
    for path in (tmp_path / "origin").iterdir():
        shutil.copyfile(path, repository / "blobs" / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    (repository / "refs/main").write_text(COMMIT)
    return snapshot


def made(tmp_path: Path, revision: str | None, model: str = "some/eye") -> Manifest:
    return materialise(spec("image", "transformers", model, "hub", revision=revision), tmp_path / "made")


def plain(tmp_path: Path) -> Manifest:
    return materialise(spec("image", "transformers", str(tmp_path / "origin")), tmp_path / "plain")


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
@pytest.mark.usefixtures("cache")
def test_a_cached_model_needs_no_network(
    revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    manifest = made(tmp_path, revision)
    assert manifest.resolved_revision == COMMIT
    assert manifest.weights_sha256 == plain(tmp_path).weights_sha256
    assert not any(path.is_symlink() for path in (tmp_path / "made").iterdir())
    assert f"hf download some/eye --revision {COMMIT}" in caplog.text


@pytest.mark.parametrize(("model", "revision"), [("some/eye", "v2"), ("some/eye", "f" * 40), ("other/eye", None)])
@pytest.mark.usefixtures("cache")
def test_what_is_not_cached_is_named(
    model: str, revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=f"the cache does not hold it.*hf download {model}.*`source: local`"):
        made(tmp_path, revision, model)


@pytest.mark.parametrize(
    ("gone", "message"),
    [("model.safetensors", "expected weights in a"), ("config.json", "has no config.json")],
)
def test_half_a_snapshot_is_refused(
    cache: Path, gone: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (cache / gone).unlink()
    with pytest.raises(CheckpointError, match=message):
        made(tmp_path, None)


@pytest.mark.usefixtures("cache")
def test_nobody_answers_but_the_cache_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    assert made(tmp_path, COMMIT).resolved_revision == COMMIT


class Hub(BaseHTTPRequestHandler):
    """Lists the files of some/eye and sends none."""

    def do_GET(self) -> None:
        tree = [{"type": "file", "path": name, "size": 1, "oid": "0"} for name in FILES]
        body = json.dumps(tree if "/tree/" in self.path else {"id": "some/eye", "sha": COMMIT}).encode()
        self.send_response(200 if "/api/models/some/eye" in self.path else 500)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.mark.usefixtures("cache")
def test_what_the_cache_holds_is_not_downloaded_again(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: HfApi(endpoint=server))
    manifest = made(tmp_path, None)
    assert (manifest.resolved_revision, manifest.weights_sha256) == (COMMIT, plain(tmp_path).weights_sha256)
