"""Configuration files that ask for the impossible are refused before anything is allocated."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, BertModel, ViTConfig, ViTImageProcessor, ViTModel

from pipeline.config import ImageView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.config_files import MOST_BYTES, MOST_LEVELS, check_config_files
from pipeline.encoders.image import load_image_encoder
from pipeline.errors import CheckpointError
from tests.encoders import dual_models
from tests.encoders.conftest import spec
from tests.encoders.tiny_models import words

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    folder = tmp_path / "outside" / "vit"
    ViTModel(ViTConfig(**SMALL, image_size=32, patch_size=8)).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path, tmp_path: Path, modality: str = "image", loader: str = "transformers", **more: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        materialise(spec(modality, loader, str(folder), "local", **more), tmp_path / "data" / "checkpoint")
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 10**9}, "`hidden_size` is 1000000000; expected a whole number from 0 to 65,536"),
        ({"hidden_size": "16"}, "`hidden_size` is '16'; expected a whole number"),
        ({"hidden_size": [16, {}]}, "`hidden_size` is [16, {}]; expected a whole number"),
        ({"hidden_size": -16}, "`hidden_size` is -16; expected a whole number"),
        ({"hidden_size": 16.5}, "`hidden_size` is 16.5; expected a whole number"),
        ({"hidden_size": True}, "`hidden_size` is True; expected a whole number"),
        ({"num_hidden_layers": 10**7}, "`num_hidden_layers` is 10000000; expected a whole number from 0 to 1,000"),
        ({"vision_config": {"intermediate_size": 10**12}}, "`vision_config.intermediate_size` is 1000000000000"),
        ({"image_size": [32, 10**8]}, "`image_size` is [32, 100000000]"),
        (
            {"hidden_size": 65_536, "num_hidden_layers": 900},
            "describes a model of more than 3,865,471 million parameters",
        ),
        ({"model_type": ["vit"]}, "configuration"),
    ],
)
def test_sizes_that_no_model_has(vit: Path, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    edit(vit / "config.json", **changes)
    assert message in refused(vit, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_act": 7},
        {"hidden_act": "no such activation"},
        {"hidden_dropout_prob": "much"},
        {"patch_size": 0},
        {"num_attention_heads": 3},
        {"layer_norm_eps": {}},
    ],
)
def test_values_that_a_library_trips_over(vit: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """While it describes the checkpoint, or not before it builds the model."""
    edit(vit / "config.json", **changes)
    entry, folder = spec("image", "transformers", str(vit), "local"), tmp_path / "data" / "vit"
    with pytest.raises(CheckpointError, match="config"):
        materialise(entry, folder)
        load_image_encoder(folder, entry, ImageView(encoder="x", resolution=32), "cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "should hold an object of JSON, found []"),
        (b"7", "should hold an object of JSON, found 7"),
        (b"", "cannot be read as JSON"),
        (b"{", "cannot be read as JSON"),
        (b"\xff\xfe{}", "cannot be read as JSON"),
        (b'{"hidden_size": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
        (b'{"a":' * 100_000, f"nested more than {MOST_LEVELS} levels deep"),
        (b'{"a":' * 99 + b"1" + b"}" * 99, f"nested more than {MOST_LEVELS} levels deep"),
        (b"{" + b" " * MOST_BYTES + b"}", "MB are the most"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_files_that_are_no_configuration(vit: Path, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (vit / name).write_bytes(content)
    assert message in (said := refused(vit, tmp_path))
    assert name in said
    assert len(said) < 1000


def test_a_text_model_and_an_open_clip_folder(tmp_path: Path) -> None:
    text = tmp_path / "outside" / "bert"
    BertModel(BertConfig(**SMALL, vocab_size=30)).save_pretrained(text)
    words().save_pretrained(text)
    edit(text / "config.json", vocab_size=10**10)
    assert "`vocab_size` is 10000000000" in refused(text, tmp_path, "text", pooling="mean")
    clip = dual_models.open_clip_folder(tmp_path / "outside" / "clip", "clip")
    path = clip / "open_clip_config.json"
    content = json.loads(path.read_text())
    content["model_cfg"]["vision_cfg"]["width"] = 10**9
    path.write_text(json.dumps(content))
    assert "`model_cfg.vision_cfg.width` is 1000000000" in refused(clip, tmp_path, loader="open_clip", pooling="model")


def test_a_checkpoint_that_changed_since_it_was_described(vit: Path, tmp_path: Path) -> None:
    entry, folder = spec("image", "transformers", str(vit), "local"), tmp_path / "data" / "vit"
    materialise(entry, folder)
    view = ImageView(encoder="x", resolution=32)
    load_image_encoder(folder, entry, view, "cpu")
    edit(folder / "config.json", hidden_size=10**9)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_image_encoder(folder, entry, view, "cpu")


def test_pipes_are_not_read(vit: Path) -> None:
    os.mkfifo(vit / "generation_config.json")
    with pytest.raises(CheckpointError, match="should be a plain file"):
        check_config_files(vit)


def test_nothing_is_allocated(vit: Path) -> None:
    edit(vit / "config.json", hidden_size=60_000, num_hidden_layers=3, intermediate_size=1_000_000)
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from pipeline.encoders.config_files import check_config_files\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "try: check_config_files(Path(sys.argv[1]))\n"
        "except Exception as error: print(type(error).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(vit)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "CheckpointError"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 2**30


def test_a_lack_of_memory_is_not_blamed_on_the_configuration(
    vit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    entry, folder = spec("image", "transformers", str(vit), "local"), tmp_path / "data" / "vit"
    materialise(entry, folder)
    monkeypatch.setattr("pipeline.encoders.transformers_tower.Processor", full)
    with pytest.raises(torch.OutOfMemoryError):
        load_image_encoder(folder, entry, ImageView(encoder="x", resolution=32), "cpu")


def nested(levels: int) -> Any:
    return {"a": nested(levels - 1)} if levels else 1


@pytest.mark.parametrize(("change", "fine"), [(nested(MOST_LEVELS - 2), True), (nested(MOST_LEVELS + 1), False)])
def test_the_limit_of_levels(vit: Path, change: Any, fine: bool) -> None:
    edit(vit / "config.json", extra=change)
    check: Callable[[], None] = lambda: check_config_files(vit)  # noqa: E731
    if fine:
        check()
    else:
        with pytest.raises(CheckpointError, match="levels deep"):
            check()
