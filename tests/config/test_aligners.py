"""What params.yaml may say of heads, losses and closed forms."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config import AlignerSpec, TrainParams, ViewSpec
from pipeline.config.load import validate
from tests.config.refusals import refusal

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head": "closed"}, "head closed needs `closed`"),
        ({"closed": [{"form": "cca"}]}, "no other head takes it"),
        ({"init": "cca"}, "init cca is for head linear, found freeze-align"),
        ({"head": "linear", "init": "cca", "image_input": "sum", "whiten": "both"}, "set image_input: concat"),
        ({"crops": True}, "set `views.vit.crops` to their number"),
        ({"crops": True, "local_tokens": "patch"}, "no patch tokens are kept of crops"),
        ({"layers": 2}, "set local_tokens to mean or none"),
        ({"layers": 2, "local_tokens": "mean", "dense": "vit-dense"}, "leave out `dense`"),
        ({"head": "linear", "local_tokens": "none"}, "with local_tokens none it is cls"),
        ({"local_tokens": "mean", "loss": {"patch_text": 0.1}}, "set local_tokens to grid or patch"),
        ({"text_tokens": "full", "loss": {"mixup": 1.0}}, "set text_tokens: pooled"),
    ],
)
def test_what_does_not_fit_a_head_says_what_would_do(raw: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    raw["aligners"]["freeze-align"].pop("dense")
    raw["aligners"]["freeze-align"] |= changes
    message = refusal(raw)
    assert "aligners.freeze-align" in message
    assert said in message


def test_a_recipe_may_change_keys_of_training_but_only_such_as_there_are(raw: dict[str, Any]) -> None:
    raw["aligners"]["freeze-align"]["train"] = {"lr": 0.003, "epochs": 4}
    spec = validate(raw).aligners["freeze-align"]
    changed = TrainParams(lr=0.001, batch_size=77).changed(spec.train)
    assert (changed.lr, changed.epochs, changed.batch_size) == (0.003, 4, 77)
    raw["aligners"]["freeze-align"]["train"] = {"lrr": 0.003}
    assert "`aligners.freeze-align.train.lrr`" in refusal(raw)
    raw["aligners"]["freeze-align"]["train"] = {"epochs": 0}
    assert "`aligners.freeze-align.train.epochs`" in refusal(raw)


def test_forms_and_losses_are_checked_key_by_key(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["closed"][0]["shrink"] = [0.0]
    assert "`aligners.default.closed.0.shrink.0` is 0.0" in refusal(raw)
    raw["aligners"]["default"]["closed"][0] = {"form": "ccaa"}
    assert "`aligners.default.closed.0.form` is 'ccaa'" in refusal(raw)
    raw["aligners"]["default"]["closed"][0] = {"form": "cca"}
    raw["aligners"]["freeze-align"]["loss"] = {"kind": "hinge"}
    assert "`aligners.freeze-align.loss.kind` is 'hinge'" in refusal(raw)


def test_templates_are_for_views_of_one_text_embedding(raw: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs exactly one"):
        ViewSpec(encoder="words", templates=("a photo",))
    with pytest.raises(ValidationError, match="leave out tier full"):
        ViewSpec(encoder="words", templates=("a {}",), truncations=(4, 8))
    raw["views"]["vit"]["templates"] = ["a photo of a {}."]
    assert "`views.vit.templates` is for texts; 'vit-s14' is an encoder of images" in refusal(raw)


def test_the_default_and_its_control_differ_in_the_images_alone() -> None:
    aligners = yaml.safe_load((ROOT / "params.yaml").read_text())["aligners"]
    default, control = (AlignerSpec.model_validate_json(json.dumps(aligners[name])) for name in ("default", "control"))
    images = {key: getattr(default, key) for key in ("image", "dense", "dense_head")}
    assert control.model_copy(update=images) == default
    assert control.image != default.image
