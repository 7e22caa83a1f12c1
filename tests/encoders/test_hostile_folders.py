"""The folder of a model may hold anything: only plain files of its own are copied, and no name leads out of it."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from pipeline.encoders import files
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.manifest import MANIFEST, damages_of, read_manifest
from pipeline.encoders.named_parts import check_names
from pipeline.encoders.open_clip_parts import CONFIG, fetch_parts, read_config
from pipeline.errors import CheckpointError
from tests.dag import tiny
from tests.encoders.conftest import spec


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    tiny.write_text_checkpoint(tmp_path / "outside/model", 0)
    return tmp_path / "outside/model"


def make(origin: Path, tmp_path: Path) -> Path:
    materialise(spec("text", "transformers", str(origin), pooling="mean"), tmp_path / "made")
    return tmp_path / "made"


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret.txt", "/proc/self/environ", "/dev/zero"])
def test_a_link_to_somewhere_else_is_not_copied_out(target: str, origin: Path, tmp_path: Path) -> None:
    (tmp_path / "outside/secret.txt").write_text("a password")
    (origin / "notes.txt").symlink_to(target)
    with pytest.raises(CheckpointError, match=r"notes\.txt is a link to .*outside of the folder.*cp -rL"):
        make(origin, tmp_path)
    assert not (tmp_path / "made" / "notes.txt").exists()
    assert not (tmp_path / "made" / MANIFEST).exists()


def test_a_linked_folder_does_not_bring_its_files(origin: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    (tmp_path / "private/key.txt").write_text("a key")
    (origin / "sub").symlink_to(tmp_path / "private")
    made = make(origin, tmp_path)
    assert not (made / "sub").exists()
    (origin / "sub.txt").symlink_to(tmp_path / "private")  # its name is one that is kept
    with pytest.raises(CheckpointError, match="outside of the folder"):
        make(origin, tmp_path)


def test_links_inside_the_folder_and_a_folder_that_is_a_link_are_copied(origin: Path, tmp_path: Path) -> None:
    plain = read_manifest(make(origin, tmp_path)).files
    (origin / "kept").mkdir()
    shutil.move(origin / "config.json", origin / "kept/config.txt")
    (origin / "config.json").symlink_to("kept/config.txt")
    (tmp_path / "named").symlink_to(origin)
    found = read_manifest(make(tmp_path / "named", tmp_path)).files
    assert plain.items() <= found.items()
    assert not any(path.is_symlink() for path in (tmp_path / "made").rglob("*"))


def test_a_snapshot_of_the_cache_may_link_to_its_blobs_and_to_nothing_else(origin: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--x/snapshots/abc", tmp_path / "models--x/blobs"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in origin.iterdir():
        shutil.copyfile(path, blobs / path.name)
        (snapshot / path.name).symlink_to(Path("../../blobs") / path.name)
    make(snapshot, tmp_path)
    (tmp_path / "models--x/refs.txt").write_text("not a blob")
    (snapshot / "more.txt").symlink_to("../../refs.txt")
    with pytest.raises(CheckpointError, match="outside of the folder"):
        make(snapshot, tmp_path)


def test_a_pipe_is_not_waited_for(origin: Path, tmp_path: Path) -> None:
    os.mkfifo(origin / "vocab.txt")
    with pytest.raises(CheckpointError, match=r"a pipe, not a regular file.*vocab\.txt"):
        make(origin, tmp_path)


def test_sizes_that_no_model_has_are_refused_before_anything_is_copied(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(origin / "huge.txt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match=r"huge\.txt has 1,099,511,627,776 bytes"):
        make(origin, tmp_path)
    (origin / "huge.txt").unlink()
    with open(origin / "model.safetensors", "ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(CheckpointError, match="does not fit its header"):
        make(origin, tmp_path)
    assert list((tmp_path / "made").iterdir()) == []
    tiny.write_text_checkpoint(origin, 0)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match="0.0 MB are free"):
        make(origin, tmp_path)


@pytest.mark.parametrize("start", [b"", b"\xff" * 8, (10**9).to_bytes(8, "little"), b"\x02" + bytes(7) + b"[]", b"x"])
def test_a_file_that_is_no_safetensors_is_refused(start: bytes, origin: Path, tmp_path: Path) -> None:
    (origin / "model.safetensors").write_bytes(start)
    with pytest.raises(CheckpointError, match="no header of safetensors"):
        make(origin, tmp_path)


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/srv/model.safetensors", "a/../../b", "a\0b"])
def test_a_shard_index_may_not_lead_out_of_the_folder(shard: str, origin: Path, tmp_path: Path) -> None:
    (tmp_path / "outside/other").mkdir()
    shutil.copyfile(origin / "model.safetensors", tmp_path / "outside/other/model.safetensors")
    (origin / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        make(origin, tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", '{"weight_map": []}', "[" * 10**6, "{", '{"weight_map": {"a": 3}}'])
def test_a_shard_index_of_another_form_is_refused(content: str, origin: Path, tmp_path: Path) -> None:
    (origin / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        make(origin, tmp_path)


@pytest.mark.parametrize("path", ["../other", "/etc", "0/../.."])
def test_a_module_may_not_lead_out_of_the_folder(path: str, tmp_path: Path) -> None:
    module = {"path": path, "type": "sentence_transformers.models.Transformer"}
    (tmp_path / "modules.json").write_text(json.dumps([module]))
    with pytest.raises(CheckpointError, match="leads out of its folder"):
        check_names(tmp_path, "sentence-transformers")


def test_a_router_may_not_lead_out_of_the_folder_or_import_what_it_likes(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "0").mkdir()
    for types, message in (
        ({"../x": "sentence_transformers.X"}, "leads out"),
        ({"x": "subprocess.Popen"}, "no part of"),
    ):
        (tmp_path / "0/router_config.json").write_text(json.dumps({"types": types}))
        with pytest.raises(CheckpointError, match=message):
            check_names(tmp_path, "sentence-transformers")
    check_names(tmp_path, "sentence-transformers", trust_remote_code=True)  # as the user says


@pytest.mark.parametrize("part", ["text_model/config.json", "tokenizer/tokenizer_config.json", "config.json"])
def test_code_in_an_open_clip_folder_is_refused_since_the_library_cannot_be_told(part: str, tmp_path: Path) -> None:
    (tmp_path / part).parent.mkdir(exist_ok=True)
    (tmp_path / part).write_text(json.dumps({"auto_map": {"AutoConfig": "own.Own"}}))
    with pytest.raises(CheckpointError, match="auto_map"):
        check_names(tmp_path, "open_clip")


@pytest.mark.parametrize("seed", range(30))
def test_a_flipped_bit_anywhere_in_a_checkpoint_is_found(seed: int, origin: Path, tmp_path: Path) -> None:
    made = make(origin, tmp_path)
    generator = np.random.default_rng(seed)
    paths = sorted(path for path in made.rglob("*") if path.is_file())
    path = made / MANIFEST if seed % 3 == 0 else paths[int(generator.integers(len(paths)))]
    state, content = path.stat(), bytearray(path.read_bytes())
    content[generator.integers(len(content))] ^= 1 << int(generator.integers(8))
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    before = json.loads((make(origin, tmp_path / "again") / MANIFEST).read_text())
    try:
        manifest = read_manifest(made)
    except CheckpointError as error:
        assert path.name == MANIFEST, error  # noqa: PT017
        return
    if path.name == MANIFEST:  # a space in place of another, or a letter of the name of the digest
        assert {**before, "model": ""} == {**before, **vars(manifest), "model": ""}
        return
    assert damages_of(made, manifest) == [f"{path.relative_to(made)} is changed"]


def test_a_manifest_of_an_earlier_version_has_no_digest_of_itself(origin: Path, tmp_path: Path) -> None:
    made = make(origin, tmp_path)
    content = json.loads((made / MANIFEST).read_text())
    del content["manifest_sha256"]
    (made / MANIFEST).write_text(json.dumps(content))
    assert damages_of(made, read_manifest(made)) == []
    content["weights_sha256"] = "0" * 64
    (made / MANIFEST).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="is damaged"):
        read_manifest(made)


@pytest.mark.parametrize("kind", ["pipe", "huge", "deep", "types"])
def test_a_manifest_that_is_no_plain_file_of_json_is_refused_at_once(kind: str, origin: Path, tmp_path: Path) -> None:
    path = make(origin, tmp_path) / MANIFEST
    content = json.loads(path.read_text())
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(1 << 40)
    elif kind == "deep":
        path.write_text("[" * 10**6)
    else:
        path.write_text(json.dumps(content | {"files": {"a": 3}}))
    with pytest.raises(CheckpointError, match=MANIFEST):
        read_manifest(tmp_path / "made")


@pytest.mark.parametrize("name", ["hf-hub:evil/tracker", "local-dir:/srv/model"])
def test_an_open_clip_folder_may_not_name_a_backbone_elsewhere(name: str, tmp_path: Path) -> None:
    config = {"model_cfg": {"embed_dim": 8, "text_cfg": {}, "vision_cfg": {"timm_model_name": name}}}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="expected an architecture of timm itself"):
        read_config(tmp_path)


def test_what_a_checkpoint_names_is_asked_for_without_the_token_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def snapshot(name: str, **options: Any) -> None:
        asked[name] = options["token"]
        options["local_dir"].mkdir()
        (options["local_dir"] / "config.json").write_text("{}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    config = {"model_cfg": {"text_cfg": {"hf_model_name": "evil/words", "hf_tokenizer_name": "evil/tokens"}}}
    (tmp_path / CONFIG).write_text(json.dumps(config))
    fetch_parts(tmp_path, "some/clip", None)
    assert asked == {"evil/words": False, "evil/tokens": False}
