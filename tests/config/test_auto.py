"""What params.yaml may say under `auto`, and what its stages read."""

from typing import Any

import pytest

from pipeline.config import ChosenAligner, RunNames, settings_of
from pipeline.config.leftovers import named_outputs
from pipeline.config.load import validate
from tests.config.pages import merged
from tests.config.refusals import refusal

CCA = {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {}}}


def raw(**keys: Any) -> dict[str, Any]:
    """The project's parameters with an aligner under `auto`, and tasks that its candidates have stores for."""
    part = merged({"auto": {"best": {"compare": "stamps", "data": "drawn", "head": CCA} | keys}})
    part["curations"]["drawn"] = {"pool": ["stamps"], "view": "vit"}
    part["evaluate"]["tasks"] = {"retrieval": {"datasets": ["stamps"], "recall_at": [1, 10]}}
    part["evaluate"]["versus"] = {"best": "default"}
    return part


def test_an_open_aligner_is_fitted_and_evaluated_as_others_are() -> None:
    params = validate(raw())
    assert isinstance(params.all_aligners["best"], ChosenAligner)
    fit = settings_of(params, "train", "best").fit  # type: ignore[attr-defined]
    assert (fit.image, fit.text, fit.compare, fit.datasets) == ("auto", "auto", "stamps", ("stamps",))
    assert settings_of(params, "train", "default").fit.compare is None  # type: ignore[attr-defined]
    assert "best" in settings_of(params, "evaluate", "retrieval").aligners  # type: ignore[attr-defined]
    names = settings_of(params, "report")
    assert isinstance(names, RunNames)
    assert "best" in names.aligners
    assert "best" in named_outputs(params)["models"]


def test_one_side_may_be_given() -> None:
    fit = settings_of(validate(raw(text="e5")), "train", "best").fit  # type: ignore[attr-defined]
    assert (fit.image, fit.text) == ("auto", "e5")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"compare": "stamp"},
            "`auto.best.compare` names 'stamp', which is not under `compare`. Did you mean `stamps`?",
        ),
        ({"image": "control"}, "`auto.best.image` is 'control', the control of `compare.stamps`"),
        ({"text": "minilmm"}, "`auto.best.text` is 'minilmm', which `compare.stamps.texts` does not compare. Did you"),
        ({"image": "vit", "text": "e5"}, "`auto.best`: image and text are both given, which leaves nothing to choose"),
        ({"head": {"kind": "identity"}}, "`auto.best`: head identity joins the two towers of one model"),
        ({"head": {**CCA, "forms": {"views": {"kind": "cca"}}}}, "a form under `auto` cannot be called views"),
        ({"views": ["vit", "minilm"]}, "`auto.best.views` is not a key that exists here"),
        ({"head": {**CCA, "local_tokens": "grid"}}, "needs `tier: grid`, found cls"),
        (
            {"evaluation": {"dense": "vit-dense"}},
            "is a view of 'vit-s14', but `auto.best.views` has one of 'lite0'",
        ),
    ],
)
def test_what_no_candidate_or_not_every_candidate_can_do_is_refused(keys: dict[str, Any], message: str) -> None:
    assert message in refusal(raw(**keys))


def test_a_candidate_without_a_store_of_the_training_data_is_refused() -> None:
    part = raw(data="all")
    part["views"]["lite0-large"] = part["views"]["lite0"] | {"resolution": 224}
    part["stores"]["pairs"]["stamps-lite0-large"] = {"dataset": "stamps", "view": "lite0-large", "encoder": "lite0"}
    part["compare"]["stamps"]["images"].append("lite0-large")
    message = "`auto.best` needs 'emoji' through view 'lite0-large'; add under `stores.pairs`: emoji-lite0-large:"
    assert message in refusal(part)


def test_names_that_would_be_ambiguous() -> None:
    part = raw()
    part["auto"]["default"] = part["auto"]["best"]
    assert "'default' stands under `aligners` and under `auto`" in refusal(part)
    part = raw()
    part["aligners"]["default"]["views"][0] = "auto"
    assert "`aligners.default.views` has 'auto': an aligner whose views a comparison chooses stands under" in refusal(
        part
    )
    part = raw()
    part["views"]["auto"] = part["views"]["lite0"]
    assert "`views.auto` cannot be" in refusal(part)
    part = raw()
    part["compare"]["stamps"]["images"] = ["control"]
    assert "which compares no image view but its control" in refusal(part)
