"""dvc.yaml as DVC expands it, and the links between its stages."""

from typing import Any

import pytest
import yaml

from pipeline.reporting.dag import StageGroup, expand
from pipeline.reporting.graph import edges
from tests.reporting.small import ROOT, one_aligner

DVC: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def by_name(params: dict[str, Any]) -> dict[str, StageGroup]:
    return {group.name: group for group in expand(DVC, params)}


def test_groups_over_nested_sections_have_an_item_per_entry() -> None:
    groups = by_name(PARAMS)
    assert {name: groups[name].items for name in ("encode", "encode_scenes", "encode_prompts")} == {
        "encode": len(PARAMS["stores"]["pairs"]),
        "encode_scenes": len(PARAMS["stores"]["scenes"]),
        "encode_prompts": len(PARAMS["stores"]["prompts"]),
    }
    assert groups["evaluate"].items == len(PARAMS["evaluate"]["tasks"])
    assert groups["splits"].items == 1


def test_sections_that_are_left_out_have_no_stages() -> None:
    names = set(by_name(one_aligner()))
    assert names >= {"settings", "listing", "encode", "curate", "train", "evaluate", "report"}
    assert not names & {"compare", "toy", "dense", "scenes", "encode_scenes", "encode_prompts"}
    assert set(by_name({})) == {"settings", "listing", "splits", "prompts", "accounting", "report"}


@pytest.mark.parametrize("part", [{"evaluate": {}}, {"evaluate": None}, {"evaluate": {"tasks": None}}, {"stores": {}}])
def test_defaults_complete_sections_at_every_depth(part: dict[str, Any]) -> None:
    assert "evaluate" not in by_name(part)
    assert "encode" not in by_name(part)


def test_templates_are_filled_in() -> None:
    groups = by_name(one_aligner())
    assert ("data", "curation", "all") in groups["train"].deps
    assert ("data", "features", "pairs", "eye") in groups["train"].deps
    assert ("data", "features", "pairs", "words") in groups["train"].deps
    assert ("data", "features", "pairs", "eye", "mine") in groups["encode"].outs
    assert ("data", "settings", "encode", "eye.json") in groups["encode"].deps


def test_a_template_without_a_value_stands_for_any_name() -> None:
    dvc = {
        "stages": {
            "make": {"foreach": ["one", "two"], "do": {"outs": ["data/${item}", "more/${key}"]}},
            "use": {"deps": ["data/${nobody.knows[3]}/file"]},
            "apart": {"deps": ["data/three"]},
        }
    }
    groups = expand(dvc, {})
    assert groups[0].outs == {("data", "one"), ("data", "two"), ("more", "0"), ("more", "1")}
    assert edges(groups) == {("make", "use")}


def test_links_follow_the_files() -> None:
    links = edges(expand(DVC, PARAMS))
    assert {
        ("settings", "listing"),
        ("listing", "index"),
        ("prompts", "encode_prompts"),
        ("scenes", "encode_scenes"),
    } <= links
    assert {("encode", "curate"), ("curate", "train"), ("encode_scenes", "dense"), ("accounting", "report")} <= links
    assert ("encode", "train") not in links  # it follows from encode -> curate -> train
    assert not any(consumer == "settings" for _, consumer in links)


def test_an_empty_file_has_no_stages() -> None:
    assert expand({}, {}) == []
