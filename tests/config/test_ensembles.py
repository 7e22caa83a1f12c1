"""Ensembles of aligners: what params.yaml may say of them, and what runs again after an edit."""

from typing import Any

import pytest

from pipeline.config import all_settings, settings_of
from pipeline.config.leftovers import named_outputs
from pipeline.config.load import validate
from tests.config.pages import merged
from tests.config.refusals import refusal

TWO = {"two": {"of": ["default", "multilingual"]}, "two-control": {"of": ["control", "control-e5"]}}


def raw(ensembles: Any = TWO, evaluate: Any = None, changes: Any = None) -> dict[str, Any]:
    return merged({"ensembles": ensembles, "evaluate": evaluate or {}} | (changes or {}))


def test_only_what_evaluates_and_reports_reads_an_ensemble() -> None:
    before = dict(enumerate(all_settings(validate(merged({})))))
    after = dict(enumerate(all_settings(validate(raw()))))
    changed = {stage for number, (stage, settings) in after.items() if before[number] != (stage, settings)}
    assert changed == {"evaluate", "accounting", "report"}
    settings = settings_of(validate(raw()), "evaluate", "retrieval")
    assert settings.ensembles["two"].of == ("default", "multilingual")  # type: ignore[attr-defined]
    assert settings.ensembles["two"].scores == "cosine"  # type: ignore[attr-defined]
    names = settings_of(validate(raw()), "accounting")
    assert names.ensembles["two"] == ("default", "multilingual")  # type: ignore[attr-defined]
    assert named_outputs(validate(raw()))["models"] == named_outputs(validate(merged({})))["models"]


def test_a_control_of_an_ensemble_is_one_of_its_members_controls() -> None:
    params = validate(raw(evaluate={"control": {"two": "two-control"}, "versus": {"two": "default"}}))
    settings = settings_of(params, "evaluate", "retrieval")
    assert settings.evaluate.control["two"] == "two-control"  # type: ignore[attr-defined]
    assert settings_of(params, "report").controls["two"] == "two-control"  # type: ignore[attr-defined]
    assert not [line for line in settings.caveats if line.startswith("two ")]  # type: ignore[attr-defined]


def test_one_control_for_all_is_unlike_an_ensemble() -> None:
    given = raw()
    given["evaluate"]["control"] = "control"
    caveats = settings_of(validate(given), "evaluate", "retrieval").caveats  # type: ignore[attr-defined]
    assert "two and its control control differ in more than image weights: number of aligners (2, 1)." in caveats


def test_members_may_be_of_fused_views() -> None:
    head = {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {}}}
    more = {
        "views": {"both": {"concat": ["vit", "lite0"]}},
        "fused": {"joint": {"views": ["both", "minilm"], "data": "all", "head": head}},
    }
    params = validate(raw({"two": {"of": ["default", "joint"], "scores": "logit"}}, changes=more))
    assert params.ensembles["two"].scores == "logit"


@pytest.mark.parametrize(
    ("ensembles", "said"),
    [
        ({"two": {"of": ["default"]}}, "at least 2"),
        ({"two": {"of": ["default", "default"]}}, "default"),
        ({"two": {"of": ["default", "multilingal"]}}, "names 'multilingal', which is not under `aligners`. Did you"),
        ({"two": {"of": ["default", "curated"]}}, "joins default (data: all), curated (data: balanced): the members"),
        (TWO | {"all": {"of": ["two", "default"]}}, "names 'two', an ensemble itself: name default, multilingual."),
        ({"default": {"of": ["default", "multilingual"]}}, "'default' stands under `aligners` and under `ensembles`"),
        ({"default-mask-supervised": {"of": ["default", "multilingual"]}}, "results call a method of 'default' so"),
        ({"two": {"of": ["default", "multilingual"], "scores": "rank"}}, "`ensembles.two.scores` is 'rank'"),
        ({"two": {"of": ["default", "multilingual"], "weights": [1, 2]}}, "weights"),
    ],
)  # fmt: skip
def test_what_an_ensemble_cannot_be(ensembles: Any, said: str) -> None:
    assert said in refusal(raw(ensembles))


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ({"control": {"two": "control"}}, "the control of an ensemble is an ensemble of as many aligners"),
        ({"control": {"default": "two-control"}}, "that of an aligner is an aligner."),
        ({"control": {"two": "two-controls"}}, "not under `aligners` or `ensembles`. Did you mean `two-control`?"),
        ({"versus": {"two": "defalt"}}, "names 'defalt', which is not under `aligners` or `ensembles`. Did you mean"),
        ({"showcase": "two"}, "`evaluate.showcase` names 'two', which is not under `aligners`"),
    ],
)
def test_what_names_an_ensemble_wrongly(evaluate: dict[str, Any], said: str) -> None:
    assert said in refusal(raw(evaluate=evaluate))


def test_an_ensemble_of_other_members_is_no_control() -> None:
    other = TWO | {"two-control": {"of": ["control-e5", "control"]}}
    assert "differs from 'default' in" in refusal(raw(other, {"control": {"two": "two-control"}}))
