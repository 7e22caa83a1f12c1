"""`permafrost init --preset`: the paper's models as whole projects, on whatever of their data is there."""

from pathlib import Path

import pytest
import yaml

from pipeline.commands.presets import PRESETS
from pipeline.commands.project import as_yaml
from pipeline.config import load_config
from tests.commands.conftest import Command

WHOLE = ("cc3m", "cc12m", "sbu", "concepts", "wds_imagenet1k", "wds_flickr30k")


def data(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).mkdir(parents=True)
        if not name.startswith("wds_"):
            (root / name / "00000.tar").touch()
    return root


@pytest.mark.parametrize(
    ("preset", "text", "embed_dim"),
    [
        ("dinov2-arl", "sentence-transformers/all-roberta-large-v1", 1024),
        ("dinov2-mpnet", "sentence-transformers/paraphrase-multilingual-mpnet-base-v2", 768),
    ],
)
@pytest.mark.parametrize("there", [WHOLE, ("cc3m", "cc12m", "concepts"), ("concepts", "wds_imagenet1k")], ids=len)
def test_the_whole_of_a_model_of_the_paper(
    preset: str, text: str, embed_dim: int, there: tuple[str, ...], clone: Path, tmp_path: Path, permafrost: Command
) -> None:
    answer = permafrost.json("init", data(tmp_path / "the data", *there), "--preset", preset)
    params = load_config(clone / "params.yaml").params
    aligner = PRESETS[preset].aligner
    assert params.encoders["image"].model == "facebook/dinov2-large"
    assert params.encoders["text"].model == text
    view = params.views["image"]
    assert (view.resolution, view.tier) == (224, "cls"), "nothing of the small default is left"  # type: ignore[union-attr]
    assert params.aligners[aligner].head.embed_dim == embed_dim  # type: ignore[union-attr]
    assert params.curations["all"].pool == tuple(name for name in there if not name.startswith("wds_"))
    assert set(params.datasets) == {name.removeprefix("wds_") for name in there}
    lacking = [name for name in WHOLE if name not in there]
    assert [warning.split(" not below")[0] for warning in answer["warnings"]] == ([", ".join(lacking)] * bool(lacking))
    assert answer["next"][0] == f"dvc repro train@{aligner}"


def test_there_has_to_be_data_to_train_on(clone: Path, tmp_path: Path, permafrost: Command) -> None:
    permafrost("init", data(tmp_path / "raw", "wds_flickr30k"), "--preset", "dinov2-arl", code=1)
    assert "no tars to train on; expected some in cc3m, cc12m, sbu, concepts" in permafrost.error
    assert not (clone / "params.yaml").exists()


def test_a_preset_says_which_encoders(clone: Path, tmp_path: Path, permafrost: Command) -> None:
    raw = data(tmp_path / "raw", "cc3m")
    permafrost("init", raw, "--preset", "dinov2-arl", "--text", "all-mpnet-base-v2", code=1)
    assert "leave --image, --audio and --text out" in permafrost.error
    assert not (clone / "params.yaml").exists()


@pytest.mark.parametrize(
    ("value", "written"),
    [(1.0e-5, "1.0e-05"), (2.5e-7, "2.5e-07"), (0.001, "0.001"), (30.0, "30.0"), (1e22, "1.0e+22")],
)
def test_numbers_are_numbers_to_every_reader_of_yaml(value: float, written: str) -> None:
    text = as_yaml({"train": {"lr": value}})
    assert f"lr: {written}" in text
    assert yaml.safe_load(text)["train"]["lr"] == value
