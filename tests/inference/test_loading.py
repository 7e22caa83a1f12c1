"""Finding the aligner, finding or making its encoders, and refusing what does not fit."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError

from pipeline import Aligner
from pipeline.config import FusedView, load_config
from pipeline.encoders.manifest import Manifest, read_manifest, write_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.errors import CheckpointError, FingerprintMismatch, ModelError
from pipeline.inference.recorded import recorded_specs
from tests.inference.conftest import Project, aligner

ROOT = Path(__file__).parents[2]


def edit(path: Path, **changes: object) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | changes))


def test_the_package_stays_light_until_the_aligner_is_asked_for() -> None:
    code = (
        "import sys, pipeline; assert 'torch' not in sys.modules; assert 'numpy' not in sys.modules;"
        "from pipeline import Aligner; assert 'torch' in sys.modules; print(Aligner.__name__,"
        "sorted({'transformers', 'timm', 'sentence_transformers', 'matplotlib', 'dvc'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "Aligner []"


def test_every_view_of_the_project_is_recovered_from_its_fingerprint() -> None:
    config = load_config(ROOT / "params.yaml")
    for name, view in config.section("views").items():
        if isinstance(view, FusedView):  # nothing is stored of it
            continue
        encoder = config.section(f"encoders.{view.encoder}")
        manifest = Manifest(
            "Net", 8, None, None, None, {"crop": 1}, 1, encoder.source, encoder.model, encoder.loader,
            encoder.modality, None, "revision", {}, "weights",
        )  # fmt: skip
        fingerprint = fingerprint_of(manifest, encoder, view)
        recovered = recorded_specs(json.loads(json.dumps(fingerprint.as_dict())), name)
        assert recovered[0] == encoder
        assert fingerprint_of(manifest, *recovered).digest == fingerprint.digest
        unknown = ("encoder", "grid") if view.modality == "image" else ("encoder", "languages")  # no part of a feature
        assert recovered[1].model_copy(update={key: getattr(view, key) for key in unknown}) == view


def test_a_hub_encoder_is_asked_for_at_the_commit_that_was_used(project: Project) -> None:
    recorded = json.loads((project.model("grid") / "config.json").read_text())["fingerprints"]["image"]
    recorded["described"] |= {"source": "hub", "revision": "a" * 40}
    assert recorded_specs(recorded, "x")[0].revision == "a" * 40
    assert recorded_specs(recorded, "x")[0].trust_remote_code is False
    assert recorded_specs(recorded, "x", trust_remote_code=True)[0].trust_remote_code is True


def test_encoders_are_made_again_from_their_source_where_no_checkpoint_is_left(
    project: Project, copied: Project, tmp_path: Path
) -> None:
    expected = aligner(project).encode_image(project.pictures)
    shutil.rmtree(copied.root / "data/checkpoints")
    with pytest.raises(CheckpointError, match=r"needs the encoder .*eye.*has not been read.*trust=\['.*eye'\]"):
        aligner(copied).encode_image(copied.pictures)
    assert not (tmp_path / "fresh-work").exists()
    trusted = aligner(copied, trust=[str(project.root / "eye")])
    np.testing.assert_array_equal(trusted.encode_image(copied.pictures), expected)
    (made,) = (tmp_path / "fresh-work/checkpoints").iterdir()  # the text encoder was not asked for
    before = made.stat().st_ino
    aligner(copied).encode_image(copied.pictures[0])
    assert [folder.stat().st_ino for folder in (tmp_path / "fresh-work/checkpoints").iterdir()] == [before]


def test_an_encoder_that_cannot_be_had_is_named(copied: Project, tmp_path: Path) -> None:
    shutil.move(copied.root / "data/checkpoints", tmp_path / "kept")
    path = copied.model("grid") / "config.json"
    content = json.loads(path.read_text())
    content["fingerprints"]["text"]["described"]["model"] = "gone/words"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"grid' needs the encoder 'gone/words'.*pass the folder above it as"):
        aligner(copied, trust="gone/words").encode_text("a guitar")
    assert not list((tmp_path / "fresh-work/checkpoints").iterdir()), "nothing half made is left"
    assert aligner(copied, checkpoints=str(tmp_path / "kept")).encode_text("a guitar").shape == (1, 12)


def test_other_weights_are_refused_with_the_fields_that_differ(copied: Project) -> None:
    for checkpoint in (copied.root / "data/checkpoints").iterdir():
        edit(checkpoint / "permafrost.json", weights_sha256="0" * 64)
    source = Path(json.loads((copied.root / "data/checkpoints/eye/permafrost.json").read_text())["model"])
    processor = source / "preprocessor_config.json"
    kept = processor.read_text()
    edit(processor, image_mean=[0.1, 0.1, 0.1])
    try:
        with pytest.raises(FingerprintMismatch, match=r"trained on features of another encoder(?s:.*)weights: found"):
            aligner(copied, trust=[str(source)]).encode_image(copied.pictures[0])
    finally:
        processor.write_text(kept)


def test_other_preprocessing_of_the_same_weights_is_refused(copied: Project) -> None:
    eye = copied.root / "data/checkpoints/eye"
    write_manifest(eye, replace(read_manifest(eye), preprocessing={"mean": [0, 0, 0]}))
    with pytest.raises(FingerprintMismatch, match=r"preprocessing: found '(?s:.*)checkpoints="):
        aligner(copied).encode_image(copied.pictures[0])


def test_a_damaged_manifest_beside_the_right_one_does_no_harm(copied: Project) -> None:
    (copied.root / "data/checkpoints/aaa").mkdir()
    (copied.root / "data/checkpoints/aaa/permafrost.json").write_text("{")
    assert aligner(copied).encode_text("a guitar").shape == (1, 12)


def test_folders_that_are_no_aligner(copied: Project, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"found 'data/models/nowhere'.*no such folder.*dvc repro train@default"):
        Aligner.from_pretrained("data/models/nowhere")
    with pytest.raises(ModelError, match="No fitted aligner at"):
        Aligner.from_pretrained(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="does not describe an aligner"):
        Aligner.from_pretrained(copied.root / "eye")
    with pytest.raises(ModelError, match="has no revisions"):
        Aligner.from_pretrained(copied.model("grid"), revision="main")
    with pytest.raises(ModelError, match="holds 2 repeats"):
        Aligner.from_pretrained(copied.model("grid"), repeat=2)
    edit(copied.model("grid") / "config.json", fingerprints={"image": {"digest": "d"}, "text": {"digest": "d"}})
    with pytest.raises(ModelError, match="the image view of Aligner 'grid' does not describe an encoder"):
        aligner(copied)


def test_an_unknown_hub_name_and_no_network(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    del copied

    def unknown(*_: object, **__: object) -> str:
        raise HTTPError("404 no such repository")

    def offline(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("no route and nothing cached")

    for fail, message in ((unknown, "404 no such repository"), (offline, "no route and nothing")):
        monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
        with pytest.raises(ModelError, match=f"no local folder 'some/aligner'.*revision v1.*{message}"):
            Aligner.from_pretrained("some/aligner", revision="v1")


def test_a_hub_aligner_is_fetched_without_anything_but_config_and_heads(
    copied: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def snapshot(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend([name, revision, *allow_patterns])
        return str(copied.model("grid"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    model = Aligner.from_pretrained("some/aligner", revision="v1", device="cpu")
    heads = ["config.json", "repeat_*/heads.safetensors"]
    beside = [f"{place}/{file}" for place in ("text/*", "space") for file in heads]
    assert asked == ["some/aligner", "v1", *heads, "text/towers.json", *beside]
    assert model.encode_text("a guitar").shape == (1, 12)
