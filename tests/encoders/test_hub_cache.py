"""Models that lie in the cache of Hugging Face, with and without a network; the hub is a small server of HTTP."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.manifest import Manifest
from pipeline.errors import CheckpointError
from tests.dag import tiny
from tests.encoders import dual_models
from tests.encoders.conftest import spec
from tests.encoders.tiny_models import TINY

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = ["README.md", "config.json", "model.safetensors", "onnx/model.safetensors", "preprocessor_config.json"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The snapshot of some/eye as `hf download` leaves it: links to blobs, and a ref for `main`."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    tiny.write_image_checkpoint(tmp_path / "origin", 0)
    return keep(tmp_path / "origin", "some/eye", tmp_path / "hub")


def keep(origin: Path, name: str, hub: Path, *refs: str) -> Path:
    repository = hub / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(path for path in origin.rglob("*") if path.is_file())):
        link, blob = snapshot / path.relative_to(origin), repository / "blobs" / str(number)
        shutil.copyfile(path, blob)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    for ref in ("main", *refs):
        (repository / "refs" / ref).parent.mkdir(parents=True, exist_ok=True)
        (repository / "refs" / ref).write_text(COMMIT)
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


LOADERS: dict[str, tuple[str, str, Callable[[Path], Any]]] = {  # loader, name in params.yaml, maker of a folder
    "sentence-transformers": ("sentence-transformers", "some/words", TINY["arl"].make),
    "timm": ("timm", "vit_small_patch14_dinov2.lvd142m", TINY["timm-dinov2"].make),
    "timm by its hub name": ("timm", "hf-hub:some/vit", TINY["timm-dinov2"].make),
    "open_clip": ("open_clip", "some/clip", lambda folder: dual_models.open_clip_folder(folder, "plain")),
    "open_clip of two repositories": (
        "open_clip",
        "some/clip",
        lambda folder: dual_models.open_clip_folder(folder, "xlm-roberta"),
    ),
    "transformers, two towers": ("transformers", "some/clip", lambda f: dual_models.transformers_folder(f, "clip")),
}


@pytest.mark.parametrize("revision", [None, "v1.0", "refs/pr/3", "a/branch", COMMIT])
@pytest.mark.parametrize("kind", LOADERS)
def test_every_loader_takes_a_branch_a_tag_and_a_commit_from_the_cache(
    kind: str, revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader, model, make = LOADERS[kind]
    origin = tmp_path / "origin"
    make(origin)
    name = {"timm": "timm/" * ("/" not in model)}.get(loader, "") + model.removeprefix("hf-hub:")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    keep(origin, name, tmp_path / "hub", "v1.0", "refs/pr/3", "a/branch")
    if "two repositories" in kind:
        parts = tmp_path / "parts"
        dual_models.write_tokenizer(parts)
        shutil.copyfile(origin / "text_model/config.json", parts / "config.json")
        keep(parts, "no/such-model", tmp_path / "hub")
    modality = "text" if loader != "timm" else "image"
    options = {"pooling": "cls" if loader == "timm" else "model"}
    local, there = (
        spec(modality, loader, name, source, revision=commit, **options)
        for source, name, commit in (("local", str(origin), None), ("hub", model, revision))
    )
    expected, found = materialise(local, tmp_path / "local"), materialise(there, tmp_path / "made")
    assert found.resolved_revision == COMMIT
    own = {f: digest for f, digest in found.files.items() if not f.startswith(("text_model/", "tokenizer/"))}
    assert own.items() <= expected.files.items()
    assert any(file.endswith(".safetensors") for file in own)
    with pytest.raises(CheckpointError, match="the cache does not hold it"):
        materialise(there.model_copy(update={"revision": "another"}), tmp_path / "other")


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


@pytest.mark.long
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
