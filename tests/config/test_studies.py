"""Studies name what they take, and are told where that is not there."""

from typing import Any

import pytest

from pipeline.config import all_settings
from pipeline.config.load import validate
from tests.config.refusals import refusal


def test_what_a_study_writes_stands_in_place_of_the_comparisons(raw: dict[str, Any]) -> None:
    raw["predictors"]["why-cka"]["texts"] = ["minilm"]
    by_stage = {(stage, one.name): one.model_dump() for stage, one in all_settings(validate(raw))}
    study = by_stage["predictors", "why-cka"]
    assert study["compare"]["texts"] == ("minilm",)
    assert study["compare"]["datasets"] == ("emoji", "stamps")
    assert study["compare"]["images"] == ("vit", "control", "lite0")
    assert study["encoders"] == {"vit": "vit-s14", "control": "vit-random", "lite0": "lite0", "minilm": "minilm"}
    assert by_stage["compare", "stamps"]["compare"]["datasets"] == ("stamps",)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "predictors.why-cka.compare",
            "gone",
            "`predictors.why-cka.compare` names 'gone', which is not under `compare`",
        ),
        ("predictors.why-cka.texts", ["vit"], "`predictors.why-cka.texts` is 'vit', a view of an encoder of images"),
        ("predictors.why-cka.images", ["vit"], "`predictors.why-cka.images` lacks 'control', the control of"),
        ("predictors.why-cka.text_tasks", "emoji", "is 'emoji', a data set of another source than text-tasks"),
        ("predictors.why-cka.text_control", "vit", "`predictors.why-cka.text_control` is 'vit', which is not among"),
        ("predictors.why-cka.datasets", ["text-tasks"], "names 'text-tasks', which has texts and no images"),
        ("toy.all.datasets", ["emoji", "gone"], "`toy.all.datasets` names 'gone', which is not under `datasets`"),
        ("toy.all.validate_every", 501, "validate_every 501 is beyond the 500 iterations"),
        ("curations.all.pool", ["text-tasks"], "names 'text-tasks', which has texts and no images"),
        ("evaluate.tasks.retrieval.datasets", ["text-tasks"], "names 'text-tasks', which has texts and no images"),
        ("stores.pairs.text-tasks-e5.view", "vit", "is 'vit', a view of an encoder of images"),
    ],
)
def test_a_study_of_what_is_not_there_is_refused(raw: dict[str, Any], path: str, value: Any, message: str) -> None:
    *parents, last = path.split(".")
    section = raw
    for part in parents:
        section = section[part]
    section[last] = value
    if path.startswith("stores"):
        section["encoder"] = "vit-s14"
    assert message in refusal(raw)


def test_text_tasks_need_a_store_of_every_text_view(raw: dict[str, Any]) -> None:
    del raw["stores"]["pairs"]["text-tasks-e5"]
    line = "add under `stores.pairs`: text-tasks-e5: {dataset: text-tasks, view: e5, encoder: e5}"
    assert line in refusal(raw)


def test_texts_alone_are_not_split(raw: dict[str, Any]) -> None:
    by_stage = {(stage, one.name): one.model_dump() for stage, one in all_settings(validate(raw))}
    assert by_stage["splits", ""]["datasets"] == ("emoji", "stamps")
