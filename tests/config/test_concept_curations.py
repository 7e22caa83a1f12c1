"""What `concept_curations` may say, and what is said where it contradicts itself or the rest of params.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config import load_config
from pipeline.config.concept_curations import ConceptCuration
from pipeline.config.stage_settings import CurateSettings
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]
PLAIN: dict[str, Any] = {
    "pool": ["stamps"],
    "view": "vit",
    "aligner": "none",
    "images": 100,
    "concepts": [{"labels": {"dataset": "stamps", "label": "category"}}],
}


def loaded(tmp_path: Path, changes: dict[str, Any], **sections: Any) -> Any:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    entry = {key: value for key, value in {**PLAIN, **changes}.items() if value is not None}
    params["concept_curations"] = {"rich": entry}
    for section, change in sections.items():
        params[section] = params[section] | change
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return load_config(path)


def test_a_stage_is_handed_its_entry(tmp_path: Path) -> None:
    settings = loaded(tmp_path, {}).settings("curate", "rich")
    assert isinstance(settings, CurateSettings)
    assert isinstance(settings.curation, ConceptCuration)
    assert settings.curation.images == 100
    assert "engine" not in settings.model_dump_json()


def test_an_aligner_takes_it_as_its_data(tmp_path: Path) -> None:
    curated = {"views": ["vit", "minilm"], "data": "rich", "head": {"kind": "freeze-align"}}
    config = loaded(tmp_path, {}, aligners={"curated": curated})
    assert config.settings("train", "curated").fit.datasets == ("stamps",)


def test_a_preset_stands_for_keys_that_are_not_written(tmp_path: Path) -> None:
    found = loaded(tmp_path, {"preset": "classification"}).params.concept_curations["rich"]
    assert (found.balance, found.hygiene.near, found.hygiene.repeated) == ("concepts", 0.98, 20)
    changes = {"preset": "retrieval", "concepts": None, "hygiene": {"near": 0.9}}
    found = loaded(tmp_path, changes).params.concept_curations["rich"]
    assert (found.balance, found.hygiene.near, found.hygiene.words) == ("none", 0.9, (1, 60))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no concepts": ({"concepts": None}, "`balance: concepts` needs `concepts`"),
    "two sources": ({"concepts": [{"file": "a.txt", "keywords": ["a"]}]}, "exactly one of"),
    "a path": ({"concepts": [{"file": "../a.txt"}]}, "name of a file in the folder concepts"),
    "no captions": ({"against": "captions"}, "`captions` should name a view of texts: `against` is captions"),
    "both without an aligner": ({"prototypes": "both", "captions": "minilm"}, "share a space only through"),
    "shots without concepts": ({"balance": "none", "concepts": None, "shots": 3}, "`shots` would have no effect"),
    "levels without clusters": ({"levels": [4]}, "`levels` would have no effect"),
    "a cap without concepts": ({"balance": "none", "concepts": None, "cap": 3}, "list them under `concepts`"),
    "evaluation without a measure": ({"hygiene": {"decontaminate": ["stamps"]}}, "by `near` or by `hash_bits`"),
    "captions of no evaluation": ({"hygiene": {"same_caption": True}}, "`same_caption` would have no effect"),
    "words backwards": ({"hygiene": {"words": [9, 3]}}, "words goes from 9 down to 3"),
    "weights of nothing": ({"mixture": {"concepts": 0.0, "drawn": 0.0}}, "both weights are 0"),
    "clusters of nothing": ({"hygiene": {"semantic_clusters": 3}}, "`semantic_clusters` would have no effect"),
    "ray without ray": ({"ray": {"cpus": 1}}, "`ray` would have no effect"),
    "an unknown view": ({"view": "absent"}, "names 'absent', which is not under `views`"),
    "texts as images": ({"view": "minilm"}, "minilm"),
    "an unknown data set": ({"hygiene": {"near": 0.9, "decontaminate": ["absent"]}}, "not under `datasets`"),
    "labels outside the pool": (
        {"concepts": [{"labels": {"dataset": "emoji", "label": "category"}}]}, "not in its pool"),
    "an unknown aligner": ({"aligner": "absent"}, "which is not under `aligners`"),
    "an aligner of other views": ({"aligner": "control"}, "should be these"),
    "two spaces": (
        {"against": "captions", "captions": "minilm"}, "its views are of two models: set `aligner`"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(tmp_path: Path, name: str) -> None:
    changes, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, changes)


def test_a_circle_and_a_name_twice(tmp_path: Path) -> None:
    looped = {"views": ["vit", "minilm"], "data": "rich", "head": {"kind": "freeze-align"}}
    with pytest.raises(ConfigError, match="fitted to this very curation"):
        loaded(tmp_path, {"aligner": "looped"}, aligners={"looped": looped})
    with pytest.raises(ConfigError, match="'rich' stands under `curations` and under `concept_curations`"):
        loaded(tmp_path, {}, curations={"rich": {"pool": ["stamps"], "view": "vit"}})


def test_stages_of_the_default_are_as_they_were() -> None:
    params = load_config(ROOT / "params.yaml")
    written = params.settings("curate", "balanced").model_dump(mode="json")
    assert list(written["curation"]) == ["pool", "view", "method", "images", "concepts", "shots", "candidates"]
