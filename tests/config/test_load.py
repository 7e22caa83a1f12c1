"""params.yaml is checked key by key, and its parts must name each other rightly."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import load_config
from pipeline.config.load import validate
from pipeline.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def raw() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content.pop("hydra")
    return copy.deepcopy(content)


def refusal(raw: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(raw)
    return str(caught.value)


def test_the_committed_file_is_valid(raw: dict[str, Any]) -> None:
    params = validate(raw)
    assert params.aligners["default"].image in params.views


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
        ("evaluate", "tasks", ["retrieve"]),
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
    raw["stores"]["emoji-vit"]["encoder"] = "lite0"
    assert "`stores.emoji-vit.encoder` is 'lite0', but `views.vit.encoder` is 'vit-s14'" in refusal(raw)


def test_an_aligner_without_its_store_says_what_to_add(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["image"] = "lite0"
    assert "emoji-lite0: {group: pairs, dataset: emoji, view: lite0, encoder: lite0}" in refusal(raw)


def test_sides_of_an_aligner_must_have_their_modality(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["text"] = "vit"
    assert "`aligners.default.text` is 'vit', a view of an encoder of images." in refusal(raw)


def test_text_tokens_need_a_view_that_keeps_them_and_no_truncated_texts(raw: dict[str, Any]) -> None:
    raw["aligners"]["default"]["text_tokens"] = "full"
    said = refusal(raw)
    assert "`aligners.default.text_tokens` is full, so its view 'minilm' needs `tier: full`" in said
    assert "`aligners.default.long_text` needs `text_tokens: pooled`" in said
    raw["views"]["minilm"]["tier"] = "full"
    raw["aligners"]["default"]["long_text"] = None
    assert validate(raw).aligners["default"].text_tokens == "full"


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
