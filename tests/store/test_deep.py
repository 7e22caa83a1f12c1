"""Rows of other weights are told from rows of the right ones, in every form in which they are stored."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file

from pipeline.config import load_config
from pipeline.datasets.index import build_index
from pipeline.encoders import manifest
from pipeline.encoders.checkpoint import materialise
from pipeline.errors import CheckpointError, StoreError
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from pipeline.store.deep import encode_again, verify_deep
from stages.encode import encode
from tests.dag import tiny

VIEWS = {
    "cls": {"encoder": "eye", "resolution": 28},
    "grid": {"encoder": "eye", "resolution": 28, "tier": "grid", "grid": 2},
    "int8": {"encoder": "eye", "resolution": 28, "tier": "full", "dtype": "int8"},
    "words": {"encoder": "words"},
    "tokens": {"encoder": "words", "tier": "full"},
    "half": {"encoder": "half"},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("deep")
    tiny.write_image_checkpoint(root / "eye", 0)
    tiny.write_text_checkpoint(root / "words", 1)
    tiny.write_pictures(root / "pictures")
    local = {"source": "local", "loader": "transformers"}
    text = {"modality": "text", "model": str(root / "words"), "pooling": "mean", **local}
    params = {
        "encoders": {
            "eye": {"modality": "image", "model": str(root / "eye"), "pooling": "cls", **local},
            "words": text,
            "half": {**text, "dtype": "bfloat16"},
        },
        "views": VIEWS,
        "datasets": {"mine": {"source": "folder", "path": str(root / "pictures"), "limit": 20}},
        "stores": {
            "pairs": {
                f"mine-{view}": {"dataset": "mine", "view": view, "encoder": entry["encoder"]}
                for view, entry in VIEWS.items()
            }
        },
        "encode": {"shard_rows": 8, "workers": 0, "device": "cpu", "batch_size": "auto"},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv(WORK_VARIABLE, str(root / "work"))
        config = load_config()
        for name in ("eye", "words", "half"):
            materialise(config.section(f"encoders.{name}"), root / "data/checkpoints" / name)
        build_index(config.section("datasets.mine"), root / "data/index/pairs/mine", root / "work")
        for view in VIEWS:
            encode(config.settings("encode", f"mine-{view}"))
    return root


@pytest.fixture(autouse=True)
def inside(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    monkeypatch.setenv(WORK_VARIABLE, str(project / "work"))


def store(view: str) -> Path:
    return Path("data/features/pairs") / view / "mine"


@pytest.mark.parametrize("view", VIEWS)
def test_rows_of_the_same_weights_are_far_within_the_tolerance(view: str) -> None:
    done = encode_again(store(view), rows=7)
    assert done.rows == 7
    assert done.wrong == {}
    assert done.largest < done.tolerance / 4
    assert not done.unreadable


@pytest.mark.parametrize("view", VIEWS)
def test_rows_of_other_weights_are_found_though_every_checksum_is_right(
    view: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The weights change under the manifest of the old ones, as a flipped bit changes them."""
    path = Path("data/checkpoints") / VIEWS[view]["encoder"] / "model.safetensors"
    before, weights = path.read_bytes(), load_file(path)
    name = [key for key in sorted(weights) if "norm" in key.lower() and key.endswith("weight")][-1]
    weights[name][0] = 8.0  # one value, of the last norm
    save_file(weights, path, metadata={"format": "pt"})
    try:
        with pytest.raises(CheckpointError, match=r"model\.safetensors is changed"):
            encode_again(store(view))
        monkeypatch.setattr(manifest, "damages_of", lambda *_: [])
        done = encode_again(store(view))
    finally:
        path.write_bytes(before)
    assert len(done.wrong) > done.rows // 2
    assert min(done.wrong.values()) > done.tolerance
    assert verify(store(view)).intact
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert verify_deep([store(view)], 5) == 0
    assert "5 of 5 rows are within" in capsys.readouterr().out


def test_what_cannot_be_compared_is_an_error_and_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(StoreError, match="No feature store at"):
        encode_again(Path("data/features/pairs/none/mine"))
    kept = (project / "params.yaml").read_text()
    params = yaml.safe_load(kept)
    del params["stores"]["pairs"]["mine-words"]
    params["views"]["grid"]["resolution"] = 42
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    try:
        with pytest.raises(StoreError, match=r"No entry of `stores` in params\.yaml writes"):
            encode_again(store("words"))
        with pytest.raises(StoreError, match="holds other features than params.yaml asks for now"):
            encode_again(store("grid"))
        assert verify_deep([store("words"), store("cls")], 3) == 1
    finally:
        (project / "params.yaml").write_text(kept)
    assert "words/mine: cannot be encoded again" in capsys.readouterr().out


def test_a_picture_that_is_gone_is_listed_and_the_others_are_compared(project: Path) -> None:
    pictures = sorted((project / "pictures").glob("*.png"))
    kept = {path: path.read_bytes() for path in pictures[:3]}
    for path in kept:
        path.unlink()
    try:
        done = encode_again(store("cls"))
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert 1 <= len(done.unreadable) <= 3
    assert done.rows == 20 - len(done.unreadable)
    assert not done.wrong


def test_rows_are_spread_over_the_whole_store() -> None:
    seen = encode_again(store("words"), rows=10**6)
    assert seen.rows == 20
    assert np.isfinite(seen.largest)
