"""Names become stages, folders and keys of experiments; words that two readers of YAML read differently are refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import load_config
from pipeline.config.load import validate
from pipeline.errors import ConfigError
from tests.config.refusals import refusal


@pytest.mark.parametrize("name", ["qwen2.5", "mine.v2", "a", "0-shot", "vit_b_16", "x" * 100])
def test_names_that_users_write(raw: dict[str, Any], name: str) -> None:
    raw["encoders"][name] = raw["encoders"]["vit-s14"]
    raw["views"][name] = {"encoder": name, "resolution": 224}
    raw["stores"]["pairs"][name] = {"dataset": "emoji", "view": name, "encoder": name}
    assert validate(raw).views[name].encoder == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Mine", "lower-case letters"),
        ("my view", "lower-case letters"),
        ("../up", "lower-case letters"),
        ("-x", "beginning with a letter or digit"),
        ("x" * 101, "100 is the most"),
        ("x.partial", "unfinished work"),
        ("x..y", "unfinished work, or lead elsewhere"),
        ("1e5", "YAML reads it as a value"),
        ("010", "YAML reads it as a value"),
        ("no", "YAML reads it as a value"),
        ("nan", "YAML reads it as a value"),
        ("1_000", "YAML reads it as a value"),
    ],
)
@pytest.mark.parametrize("section", ["encoders", "aligners", "datasets"])
def test_names_that_cannot_be(raw: dict[str, Any], section: str, name: str, why: str) -> None:
    raw[section][name] = next(iter(raw[section].values()))
    message = refusal(raw)
    assert why in message
    assert f"`{section}." in message


def test_a_name_that_yaml_reads_as_a_number(raw: dict[str, Any]) -> None:
    raw["aligners"][12] = raw["aligners"]["default"]
    assert "the name 12 under `aligners` is read as a int: write another one, such as `v-12`" in refusal(raw)
    del raw["aligners"][12]
    raw["aligners"][False] = raw["aligners"]["default"]
    assert "the name False under `aligners` is read as a bool" in refusal(raw)


def test_two_stores_of_one_place(raw: dict[str, Any]) -> None:
    raw["stores"]["pairs"]["again"] = raw["stores"]["pairs"]["emoji-vit"]
    assert "stores 'emoji-vit' and 'again' of `stores.pairs` are both data set 'emoji' through view" in refusal(raw)


def test_one_name_for_two_stores(raw: dict[str, Any]) -> None:
    raw["stores"]["scenes"]["emoji-vit"] = raw["stores"]["scenes"].pop("scenes-vit")
    assert "store 'emoji-vit' stands in two groups of `stores`" in refusal(raw)


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("train: {epochs: 010}", "`train.epochs` is read as 8 here and as 10 by DVC"),
        ("encoders:\n  a:\n    model: 1:30", "`encoders.a.model` is read as"),
        ("encode: {compile: yes}", "`encode.compile` is read as True here and as 'yes' by DVC"),
        ("prompts: {sets: {a: [off]}}", "`prompts.sets.a.0` is read as False here"),
        ("aligners: {no: {}}", "a name under `aligners` is read as False here and as 'no' by DVC"),
    ],
)
def test_words_that_dvc_reads_otherwise(tmp_path: Path, written: str, key: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"seed: 0\n{written}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert key in str(caught.value)


def test_both_readers_agree_on_ordinary_values(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text('train: {lr: 1.0e-3, min_lr: 1e-5, device: "on"}\nencode: {compile: true}\nseed: 3\n')
    config = load_config(path)
    assert (config.params.train.min_lr, config.params.train.device) == (1e-5, "on")


def test_a_section_without_an_entry(raw: dict[str, Any]) -> None:
    raw["dense_heads"] = None
    assert "`dense_heads` has no entry: write some, or leave the line out." in refusal(raw)


@pytest.mark.parametrize(("text", "why"), [("- a\n", "a ListConfig"), ("seed: [1\n", "not valid YAML")])
def test_what_is_not_a_mapping(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why):
        load_config(path)


def test_an_empty_file_is_a_project_without_anything(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("")
    assert load_config(path).params.evaluate.named == {}


def test_what_dvc_itself_would_read_is_what_the_committed_file_says() -> None:
    root = Path(__file__).resolve().parents[2]
    assert load_config(root / "params.yaml").params == validate(
        {k: v for k, v in yaml.safe_load((root / "params.yaml").read_text()).items() if k != "hydra"}
    )
