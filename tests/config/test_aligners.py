"""What params.yaml may say of heads, losses and closed forms."""

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import AutoHead, Config, FreezeAlignHead, TextView, TrainParams, TrainSettings
from pipeline.config.load import validate
from tests.config.refusals import refusal

CCA = {"kind": "closed-form", "forms": {"cca": {}}}
WHITE = {"image_input": "sum", "whitening": {"sides": "both"}}


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"kind": "closed-form"}, "`aligners.freeze-align.head.forms` is missing"),
        ({"kind": "closed-form", "forms": {}}, "`aligners.freeze-align.head.forms`"),
        ({"kind": "linear", "init": "cca", **WHITE}, "set image_input: concat"),
        ({"kind": "freeze-align", "crops": True}, "set `views.vit.crops` to their number"),
        ({"kind": "freeze-align", "crops": True, "local_tokens": "patch"}, "no patch tokens are kept of crops"),
        ({"kind": "freeze-align", "layers": 2}, "set local_tokens to mean or none"),
        ({"kind": "freeze-align", "layers": 2, "local_tokens": "mean"}, "leave out evaluation.dense"),
        ({"kind": "linear", "local_tokens": "none"}, "with local_tokens none it is cls"),
        ({**CCA, "local_tokens": "none"}, "with local_tokens none it is cls"),
        ({"kind": "mlp", "local_tokens": "mean", "loss": {"patch_text": 0.1}}, "set local_tokens to grid or patch"),
        ({"kind": "mlp", "text_tokens": "full", "loss": {"mixup": 1.0}}, "set text_tokens: pooled"),
        ({"kind": "mpl"}, "`aligners.freeze-align.head.kind` is 'mpl'; it is one of 'freeze-align'"),
        ({"local_tokens": "mean"}, "`aligners.freeze-align.head` needs 'kind', one of freeze-align"),
        ({"kind": "closed-form", "forms": {"first": {"shrink": 1.0}}}, "head.forms.first` needs 'kind', one of"),
    ],
)
def test_what_does_not_fit_a_head_says_what_would_do(raw: dict[str, Any], head: dict[str, Any], message: str) -> None:
    raw["aligners"]["freeze-align"]["head"] = head
    assert message in refusal(raw)


AUTO = {"kind": "auto", "computed": {"forms": {"cca": {}}, "local_tokens": "mean"}}


def test_head_auto_is_whole_with_its_kind_alone(raw: dict[str, Any]) -> None:
    raw["aligners"]["freeze-align"]["head"] = {"kind": "auto"}
    spec = validate(raw).aligners["freeze-align"].head
    assert isinstance(spec, AutoHead)
    assert spec.computed == validate(raw).aligners["default"].head
    assert spec.trained.kind == "mlp"
    assert (spec.taken(9_999, 1000), spec.taken(10_000, 1000)) == ("computed", "trained")
    assert spec.taken(10_000, 1001) == "computed"


def test_head_auto_hands_the_section_train_to_what_it_may_train(raw: dict[str, Any]) -> None:
    trained = {"kind": "linear", "local_tokens": "mean", "train": {"lr": 0.002}}
    raw["aligners"]["freeze-align"]["head"] = {**AUTO, "trained": trained}
    settings = Config(validate(raw)).settings("train", "freeze-align")
    assert isinstance(settings, TrainSettings)
    assert settings.train is not None
    assert (settings.train.lr, settings.loading) == (0.002, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trained": {"kind": "mlp"}}, "read the same features, found local_tokens 'mean' and 'grid'"),
        ({"trained": {"local_tokens": "mean"}}, "head.trained` needs 'kind', one of"),
        ({"trained": {"kind": "identity"}}, "head.trained.kind` is 'identity'; it is one of"),
        ({"pairs_per_feature": 0.0}, "head.pairs_per_feature` is 0.0"),
        ({"computed": AUTO["computed"] | {"train": {"features": "host"}}}, "write it under `trained`"),
        ({"computed": {"forms": {"head": {"kind": "cca"}}, "local_tokens": "mean"}}, "cannot be called head"),
        ({"computed": {"forms": {"cca": {"shrnk": 1.0}}, "local_tokens": "mean"}}, "Did you mean `shrink`?"),
        ({"trained": {"kind": "mlp", "local_tokens": "mean", "train": {"lr": 1e-6}}}, "min_lr 1e-05 is above lr"),
    ],
)
def test_head_auto_is_checked_in_both_its_heads(raw: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    raw["aligners"]["freeze-align"]["head"] = AUTO | changes
    assert message in refusal(raw)


def test_a_head_may_change_keys_of_training_but_only_such_as_there_are(raw: dict[str, Any]) -> None:
    head = raw["aligners"]["freeze-align"]["head"]
    head["train"] = {"lr": 0.003, "epochs": 4}
    spec = validate(raw).aligners["freeze-align"].head
    assert isinstance(spec, FreezeAlignHead)
    changed = TrainParams(lr=0.001, batch_size=77).changed(spec.train)
    assert (changed.lr, changed.epochs, changed.batch_size) == (0.003, 4, 77)
    head["train"] = {"lrr": 0.003}
    assert "`aligners.freeze-align.head.train.lrr` is not a key that exists here. Did you mean `lr`?" in refusal(raw)
    head["train"] = {"epochs": 0}
    assert "`aligners.freeze-align.head.train.epochs`" in refusal(raw)
    head["train"] = {"lr": 1e-6}
    assert "`aligners.freeze-align.head.train`: min_lr 1e-05 is above lr 1e-06" in refusal(raw)


def test_forms_and_losses_are_checked_key_by_key(raw: dict[str, Any]) -> None:
    forms = raw["aligners"]["default"]["head"]["forms"]
    forms["cca"]["shrink"] = 0.0
    assert "`aligners.default.head.forms.cca.shrink` is 0.0" in refusal(raw)
    forms["cca"] = {"kind": "ccaa"}
    assert "`aligners.default.head.forms.cca.kind` is 'ccaa'" in refusal(raw)
    forms["cca"] = {}
    raw["aligners"]["freeze-align"]["head"]["loss"] = {"kind": "hinge"}
    assert "`aligners.freeze-align.head.loss.kind` is 'hinge'" in refusal(raw)


def test_a_form_is_of_the_kind_of_its_name_unless_it_says_so(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["head"]["forms"] = {
        "cca": {"shrink": [0.1, 1.0]},
        "back": {"kind": "kernel-ridge", "direction": "text-to-image", "ridge": 0.5},
    }
    forms = validate(raw).aligners["default"].head.forms  # type: ignore[union-attr]
    assert [(name, form.kind) for name, form in forms.items()] == [("cca", "cca"), ("back", "kernel-ridge")]
    assert (forms["cca"].shrink, forms["back"].ridge) == ((0.1, 1.0), (0.5,))


def test_templates_are_for_views_of_one_text_embedding(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs exactly one"):
        TextView(encoder="words", templates=("a photo",))
    with pytest.raises(ValidationError, match="leave out tier full"):
        TextView(encoder="words", templates=("a {}",), truncations=(4, 8))
    raw["views"]["vit"]["templates"] = ["a photo of a {}."]
    assert "`views.vit.templates` has no effect with modality: image of `views.vit`" in refusal(raw)


@pytest.mark.parametrize("name", ["default", "freeze-align", "multilingual"])
def test_an_aligner_and_its_control_differ_in_the_images_alone(raw: dict[str, Any], name: str) -> None:
    params = validate(raw)
    assert isinstance(params.evaluate.control, dict)
    one, control = params.aligners[name], params.aligners[params.evaluate.control[name]]
    assert control.model_copy(update={"views": one.views, "evaluation": one.evaluation}) == one
    assert (control.views[0], control.views[1]) == ("control", one.views[1])
