"""params.yaml is checked key by key, and its parts must name each other rightly."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import FitSpec, Params, evaluated, load_config
from pipeline.config.load import validate
from pipeline.errors import ConfigError
from tests.config.refusals import refusal

ROOT = Path(__file__).resolve().parents[2]


def fit_of(params: Params, name: str) -> FitSpec:
    return evaluated(params)[name].fit


def test_the_committed_file_is_valid(raw: dict[str, Any]) -> None:
    params = validate(raw)
    assert set(params.aligners["default"].views) <= set(params.views)


def test_unknown_key_is_named_with_the_nearest_known_one(raw: dict[str, Any]) -> None:
    raw["train"]["lrr"] = 1.0
    assert "`train.lrr` is not a key that exists here. Did you mean `lr`?" in refusal(raw)


def test_unknown_key_of_a_data_set_has_no_tag_in_its_path(raw: dict[str, Any]) -> None:
    raw["datasets"]["emoji"]["stiles"] = ["noto"]
    assert "`datasets.emoji.stiles` is not a key that exists here. Did you mean `styles`?" in refusal(raw)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "lr", "1e-3"),
        ("train", "lr", -1.0),
        ("train", "epochs", 0),
        ("train", "epochs", 1.5),
        ("splits", "test", 1.0),
        ("encode", "max_failure_rate", 2.0),
        ("evaluate", "bootstrap", 1),
    ],
)
def test_wrong_type_or_impossible_value_names_key_and_value(
    raw: dict[str, Any], section: str, key: str, value: object
) -> None:
    raw[section][key] = value
    message = refusal(raw)
    shown = value[0] if isinstance(value, list) else value
    assert f"`{section}.{key}" in message
    assert repr(shown) in message


def test_unknown_encoder_is_named_with_the_nearest_known_one(raw: dict[str, Any]) -> None:
    raw["views"]["vit"]["encoder"] = "vit-s41"
    assert "`views.vit.encoder` names 'vit-s41', which is not under `encoders`. Did you mean `vit-s14`?" in refusal(raw)


def test_store_and_view_must_name_one_encoder(raw: dict[str, Any]) -> None:
    raw["stores"]["pairs"]["emoji-vit"]["encoder"] = "lite0"
    assert "`stores.pairs.emoji-vit.encoder` is 'lite0', but `views.vit.encoder` is 'vit-s14'" in refusal(raw)


def test_an_aligner_without_its_store_says_what_to_add(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["views"] = ["lite0", "minilm"]
    del raw["stores"]["pairs"]["emoji-lite0"]
    line = "add under `stores.pairs`: emoji-lite0: {dataset: emoji, view: lite0, encoder: lite0}"
    assert line in refusal(raw)


def test_sides_of_an_aligner_must_have_their_modality(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["views"] = ["vit", "vit"]
    assert "`aligners.default.views.1` is 'vit', a view of an encoder of images." in refusal(raw)


def test_text_tokens_need_a_view_that_keeps_them_and_no_truncated_texts(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["head"]["text_tokens"] = "full"
    assert "evaluation.long_text keeps sentence embeddings of cut texts: set text_tokens: pooled" in refusal(raw)
    for name in ("default", "control"):  # which has the same head
        raw["aligners"][name]["evaluation"].pop("long_text")
    assert "`aligners.default.head.text_tokens` is full, so its view 'minilm' needs `tier: full`" in refusal(raw)
    raw["views"]["minilm"]["tier"] = "full"
    assert fit_of(validate(raw), "default").text_tokens == "full"


@pytest.fixture
def clip(raw: dict[str, Any]) -> dict[str, Any]:
    """The committed file with a CLIP of open_clip and an aligner of its two towers."""
    for side, own in (("image", {"resolution": 224, "tier": "cls"}), ("text", {})):
        raw["encoders"][f"clip-{side}"] = {
            "modality": side,
            "source": "hub",
            "model": "ViT-B-32:laion2b_s34b_b79k",
            "loader": "open_clip",
            "pooling": "model",
        }
        raw["views"][f"clip-{side}"] = {"encoder": f"clip-{side}", **own}
        for dataset in ("emoji", "stamps"):
            store = {"dataset": dataset, "view": f"clip-{side}", "encoder": f"clip-{side}"}
            raw["stores"]["pairs"][f"{dataset}-clip-{side}"] = store
    prompts = {"dataset": "classnames", "view": "clip-text", "encoder": "clip-text"}
    raw["stores"]["prompts"]["classnames-clip-text"] = prompts
    raw["aligners"]["clip"] = {"views": ["clip-image", "clip-text"], "data": "none", "head": {"kind": "identity"}}
    return raw


def test_an_aligner_of_two_towers_reads_no_local_tokens(clip: dict[str, Any]) -> None:
    assert fit_of(validate(clip), "clip").local_tokens == "none"


def test_head_identity_joins_the_towers_of_one_model_only(clip: dict[str, Any]) -> None:
    clip["encoders"]["clip-text"]["model"] = "ViT-B-32:openai"
    message = refusal(clip)
    assert "`aligners.clip.head` is identity, but its views are of 'ViT-B-32:laion2b_s34b_b79k' and" in message
    assert "set `two_models: true`" in message
    clip["aligners"]["clip"]["head"]["two_models"] = True
    assert validate(clip).aligners["clip"].head.two_models  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "aligners.clip.evaluation",
            {"dense": "vit-dense"},
            "`aligners.clip`: head identity takes one vector per image",
        ),
        ("aligners.clip.head", {"kind": "identity", "embed_dim": 8}, "`aligners.clip.head.embed_dim` has no effect"),
        ("aligners.clip.views", ["clip-image", "minilm"], "of 'ViT-B-32:laion2b_s34b_b79k' and 'all-MiniLM-L6-v2'"),
        ("aligners.default.head", {"kind": "mlp", "two_models": True}, "it belongs to kind: identity"),
        (
            "encoders.clip-image.pooling",
            "cls",
            "`encoders.clip-image`: loader open_clip gives the model's own features",
        ),
        ("encoders.clip-image.trust_remote_code", True, "runs no code of a checkpoint"),
        ("views.clip-image.tier", "grid", "of the dual encoder 'clip-image' only `tier: cls` is kept"),
    ],
)
def test_what_a_dual_encoder_cannot_be(clip: dict[str, Any], path: str, value: object, message: str) -> None:
    section, name, key = path.split(".")
    clip[section][name][key] = value
    assert message in refusal(clip)


def test_long_texts_of_head_identity_need_scenes_through_its_image_view(clip: dict[str, Any]) -> None:
    clip["views"]["clip-long"] = {"encoder": "clip-text", "truncations": [16, 77]}
    clip["aligners"]["clip"]["evaluation"] = {"long_text": "clip-long"}
    store = {"dataset": "composed", "view": "clip-long", "encoder": "clip-text"}
    clip["stores"]["scenes"]["scenes-clip-long"] = store
    assert "composed-clip-image: {dataset: composed, view: clip-image, encoder: clip-image}" in refusal(clip)
    clip["stores"]["scenes"]["scenes-clip-image"] = store | {"view": "clip-image", "encoder": "clip-image"}
    assert evaluated(validate(clip))["clip"].scenes == "clip-image"


def test_head_identity_takes_projected_features(raw: dict[str, Any]) -> None:
    for name in ("control-freeze-align", "curated", "uncurated"):
        del raw["aligners"][name]
    raw["evaluate"] |= {"control": None, "versus": {}}
    raw["aligners"]["freeze-align"] |= {"head": {"kind": "identity"}, "data": "none", "evaluation": {}}
    assert "set `encoders.vit-s14.pooling: model`, found cls" in refusal(raw)


def test_all_problems_are_listed_at_once(raw: dict[str, Any]) -> None:
    raw["train"]["lrr"] = 1.0
    raw["trian"] = {}
    message = refusal(raw)
    assert "train.lrr" in message
    assert "`trian`" in message


def test_splits_and_rates_that_leave_nothing(raw: dict[str, Any]) -> None:
    raw["splits"].update(validation=0.5, test=0.5)
    assert "leaves nothing to train on" in refusal(raw)


def test_a_template_needs_one_place_for_the_class_name(raw: dict[str, Any]) -> None:
    raw["prompts"]["sets"]["single"] = ["a picture"]
    assert "needs exactly one {}" in refusal(raw)


def test_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("seed: [1\n")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load_config(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Run from the root of the project"):
        load_config(tmp_path / "params.yaml")


def test_a_section_that_does_not_exist(raw: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    config = load_config(path)
    assert config.section("views.vit").resolution == raw["views"]["vit"]["resolution"]
    with pytest.raises(ConfigError, match="there is no `vitt` under `views`. Did you mean `vit`"):
        config.section("views.vitt")


def test_only_head_identity_is_fitted_to_nothing(clip: dict[str, Any]) -> None:
    clip["aligners"]["clip"]["data"] = "all"
    assert "head identity is fitted to `data: none`, other heads to a curation; found head identity with" in refusal(
        clip
    )
    clip["aligners"]["clip"]["data"], clip["aligners"]["default"]["data"] = "none", "none"
    assert "found head closed-form with data: none" in refusal(clip)
    clip["aligners"]["default"]["data"] = "all"
    clip["curations"]["none"] = clip["curations"]["all"]
    assert "`curations.none` cannot be" in refusal(clip)
    del clip["curations"]["none"]
    assert fit_of(validate(clip), "clip").datasets == ("emoji", "stamps")
    for dataset in ("emoji", "stamps"):
        del clip["stores"]["pairs"][f"{dataset}-clip-text"]
    assert "needs a data set under `stores.pairs` through both of its views, clip-image and clip-text" in refusal(clip)
