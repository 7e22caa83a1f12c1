"""Each stage is handed what it reads of params.yaml, and an edit changes the settings of no other stage."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import all_settings
from pipeline.config.leftovers import leftovers, named_outputs
from pipeline.config.load import Config, validate
from pipeline.config.written import write_settings
from pipeline.errors import ConfigError


def dumped(raw: dict[str, Any]) -> dict[tuple[str, str], str]:
    return {(stage, one.name): json.dumps(one.model_dump(mode="json")) for stage, one in all_settings(validate(raw))}


def changed(raw: dict[str, Any], path: str, value: Any) -> set[str]:
    """The stages whose settings differ after the value at the dotted path is set."""
    before = dumped(raw)
    *parents, last = path.split(".")
    section = raw
    for part in parents:
        section = section[part]
    section[last] = value
    after = dumped(raw)
    return {f"{stage}@{item}" if item else stage for stage, item in before if before[stage, item] != after[stage, item]}


TASKS = ("retrieval", "classification", "multilingual", "segmentation", "long_text")
EVALUATE = {f"evaluate@{task}" for task in TASKS}


@pytest.mark.parametrize(
    ("path", "value", "stages"),
    [
        ("train.lr", 0.5, {f"train@{name}" for name in
            ("freeze-align", "control-freeze-align", "curated", "uncurated", "joint-freeze-align",
             "control-joint-freeze-align")}),
        ("train.features", "stream", {f"train@{name}" for name in
            ("default", "control", "multilingual", "control-e5", "freeze-align", "control-freeze-align", "curated",
             "uncurated", "joint", "control-joint", "joint-freeze-align", "control-joint-freeze-align")}),
        ("aligners.default.evaluation.dense_head", None, EVALUATE),
        ("aligners.default.evaluation.long_text", None, EVALUATE),
        ("aligners.default.head.forms.cca.shrink", 0.1, {"train@default", "train@control", *EVALUATE}),
        ("aligners.freeze-align.head.train", {"lr": 0.1}, {"train@freeze-align", "train@control-freeze-align",
            "train@curated", "train@uncurated", *EVALUATE}),
        ("evaluate.tasks.retrieval.recall_at", [1], {"evaluate@retrieval"}),
        ("evaluate.bootstrap", 100, EVALUATE),
        ("curations.balanced.images", 7, {"curate@balanced"}),
        ("prompts.sets.single", ["a {}"], {"prompts"}),
        ("views.e5.dtype", "float32", {
            "encode@emoji-e5", "encode@stamps-e5", "encode@text-tasks-e5", "encode@classnames-e5"}),
        ("encoders.lite0.dtype", "bfloat16", {
            "checkpoint@lite0", "encode@emoji-lite0", "encode@stamps-lite0", *EVALUATE}),  # unlike its control then
        ("datasets.emoji.limit", 9, {"listing", "index@emoji"}),
        ("scenes.training.count", 9, {"scenes@training"}),
        ("dense_heads.vit.regularisation", 1.0, {"dense@vit", *EVALUATE}),
        ("compare.stamps.neighbours", 3, {"compare@stamps", "toy@all", "predictors@why-cka"}),
        ("compare.stamps.datasets", ["emoji"], {"compare@stamps"}),
        ("predictors.why-cka.samples", 99, {"predictors@why-cka"}),
        ("datasets.text-tasks.limit", 50, {"listing", "index@text-tasks"}),
        ("toy.all.seeds", 1, {"toy@all"}),
        ("encode.workers", 1, {f"encode@{name}" for name in (
            "emoji-vit", "stamps-vit", "emoji-control", "stamps-control", "emoji-minilm", "stamps-minilm", "emoji-e5",
            "stamps-e5", "emoji-lite0", "stamps-lite0", "emoji-control-lite0", "stamps-control-lite0",
            "text-tasks-minilm", "text-tasks-e5",
            "scenes-vit", "scenes-control", "training-vit", "training-control",
            "scenes-minilm", "classnames-minilm", "classnames-e5")}),
        ("evaluate.showcase", "control", {*EVALUATE, "report"}),
    ],
)  # fmt: skip
def test_an_edit_changes_the_settings_of_the_stages_that_read_it(
    raw: dict[str, Any], path: str, value: Any, stages: set[str]
) -> None:
    assert changed(raw, path, value) == stages


def test_a_default_that_is_written_out_changes_nothing(raw: dict[str, Any]) -> None:
    assert changed(raw, "aligners.default.head.image_input", "concat") == set()
    assert changed(raw, "views.vit.fit", "model") == set()


def test_settings_as_files(raw: dict[str, Any], tmp_path: Path) -> None:
    params = validate(raw)
    count = write_settings(params, tmp_path)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")}
    assert len(files) == count
    assert {"splits.json", "train/default.json", "encode/scenes-vit.json", "evaluate/long_text.json"} <= files
    content = json.loads((tmp_path / "train" / "default.json").read_text())
    assert content == Config(params).settings("train", "default").model_dump(mode="json")
    assert content["train"] is None
    assert set(content["loading"]) == {"device", "features", "shuffle_block", "shuffle_buffer_mb"}


def test_an_item_that_is_not_there(raw: dict[str, Any]) -> None:
    config = Config(validate(raw))
    with pytest.raises(ConfigError, match="there is no `defualt` under `aligners`. Did you mean `default`?"):
        config.settings("train", "defualt")
    with pytest.raises(ConfigError, match="add \\+item=NAME"):
        config.settings("train")


def test_what_is_not_named_is_left_over(raw: dict[str, Any], tmp_path: Path) -> None:
    for place in (
        "index/pairs/emoji", "index/pairs/gone", "models/default", "models/gone", "features/pairs/vit/emoji",
        "features/pairs/vit/gone", "features/pairs/gone/emoji", "dense/gone", "toy/gone", "checkpoints/gone",
    ):  # fmt: skip
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "gone.json").write_text("{}")
    (tmp_path / "results" / "retrieval.summary.json").write_text("{}")
    found = {path.relative_to(tmp_path).as_posix() for path in leftovers(named_outputs(validate(raw)), tmp_path)}
    assert found == {
        "index/pairs/gone", "models/gone", "features/pairs/vit/gone", "features/pairs/gone", "dense/gone", "toy/gone",
        "checkpoints/gone", "results/gone.json",
    }  # fmt: skip
