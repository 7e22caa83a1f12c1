"""What evaluation needs is known before anything runs, and the message has the lines to add."""

from typing import Any

import pytest

from pipeline.config.load import validate
from tests.config.refusals import refusal


@pytest.mark.parametrize(
    ("task", "entry", "lines"),
    [
        ("retrieval", {"datasets": ["mine"]}, ("mine-control: {dataset: mine, view: control, encoder: vit-random}",
            "mine-e5: {dataset: mine, view: e5, encoder: e5}", "mine-vit: {dataset: mine, view: vit")),
        ("multilingual", {"datasets": ["mine"]}, ("mine-minilm: {dataset: mine, view: minilm, encoder: minilm}",)),
        ("classification", {"classes": [{"dataset": "mine", "label": "concept"}]}, ("mine-vit: {dataset: mine",)),
        ("long_text", {"datasets": ["mine"]}, ("mine-minilm-long: {dataset: mine, view: minilm-long",)),
    ],
)  # fmt: skip
def test_a_data_set_without_stores(
    raw: dict[str, Any], task: str, entry: dict[str, Any], lines: tuple[str, ...]
) -> None:
    raw["datasets"]["mine"] = {"source": "folder", "path": "mine"}
    raw["evaluate"]["tasks"][task] = entry
    message = refusal(raw)
    assert f"evaluate.tasks.{task}" in message
    assert all(line in message for line in lines)


def test_prompts_need_a_store_of_every_text_view(raw: dict[str, Any]) -> None:
    del raw["stores"]["prompts"]["classnames-e5"]
    message = refusal(raw)
    assert "add under `stores.prompts`: classnames-e5: {dataset: classnames, view: e5, encoder: e5}" in message


@pytest.mark.parametrize(
    ("task", "key", "value", "message"),
    [
        ("retrieval", "datasets", ["stmps"], "names 'stmps', which is not under `datasets`. Did you mean `stamps`?"),
        ("classification", "prompt_sets", ["many"], "names 'many', which is not under `prompts.sets`"),
        ("segmentation", "prompt_set", "many", "names 'many', which is not under `prompts.sets`"),
        ("segmentation", "scenes", "training", "name scenes of `use: evaluation`"),
        ("segmentation", "scenes", "other", "names 'other', which is not under `scenes`"),
        ("retrieval", "prompt_sets", ["single"], "`evaluate.tasks.retrieval.prompt_sets` is not a key that exists"),
        ("retrieval", "recall_at", [], "`evaluate.tasks.retrieval.recall_at`"),
        ("long_text", "scenes", None, "name `scenes`, or `datasets` with long captions"),
    ],
)
def test_what_a_task_cannot_be(raw: dict[str, Any], task: str, key: str, value: Any, message: str) -> None:
    raw["evaluate"]["tasks"][task][key] = value
    assert message in refusal(raw)


def test_an_unknown_task_is_named_with_the_nearest(raw: dict[str, Any]) -> None:
    raw["evaluate"]["tasks"]["retrievel"] = {"datasets": ["stamps"]}
    assert "`evaluate.tasks.retrievel` is not a key that exists here. Did you mean `retrieval`?" in refusal(raw)


def test_languages_that_a_text_view_leaves_out(raw: dict[str, Any]) -> None:
    raw["views"]["minilm"].pop("languages")
    assert "`evaluate.tasks.segmentation` asks for class names in de, fr, ja, ru, which view 'minilm'" in refusal(raw)
    raw["views"]["minilm"]["languages"] = ["en", "de", "fr", "ja", "ru"]
    validate(raw)


def test_an_english_view_unless_others_are_named(raw: dict[str, Any]) -> None:
    raw["views"]["plain"] = {"encoder": "minilm"}
    view = validate(raw).views["plain"]
    assert (view.languages, view.only) == (("en",), ("en",))  # type: ignore[union-attr]


def test_a_project_without_control_studies_scenes_or_classes(raw: dict[str, Any]) -> None:
    for section in (
        "scenes",
        "compare",
        "toy",
        "predictors",
        "dense_heads",
        "prompts",
        "splits",
        "train",
        "encode",
        "seed",
    ):
        raw.pop(section)
    raw["stores"].pop("scenes")
    raw["stores"].pop("prompts")
    raw["aligners"] = {"only": {"views": ["vit", "minilm"], "data": "all", "head": {"kind": "freeze-align"}}}
    raw["evaluate"] = {"tasks": {"retrieval": {"datasets": ["stamps"]}}}
    params = validate(raw)
    assert list(params.evaluate.named) == ["retrieval"]
    assert (params.evaluate.control, params.seed, params.splits.repeats) == (None, 0, 5)


def test_tasks_without_an_aligner(raw: dict[str, Any]) -> None:
    raw["aligners"], raw["fused"], raw["dense_heads"] = {}, {}, {}
    raw["evaluate"] = {"tasks": {"retrieval": {"datasets": ["stamps"]}}}
    assert "`evaluate.tasks` has nothing to evaluate: name an aligner under `aligners`." in refusal(raw)
