"""The entries of docs/segmentation.md fit params.yaml and the layouts they name; what contradicts itself is named."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.config.load import validate
from pipeline.datasets.index import build_index
from pipeline.datasets.segmentation import SegmentationSet
from pipeline.errors import ConfigError
from tests.datasets.label_maps import write_ade20k, write_context, write_mask_folder, write_voc

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/segmentation.md").read_text(encoding="utf-8")
VOC, OTHERS, WHOLE, HEADS = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.S))
WRITERS = {"voc": write_voc, "pascal-context": write_context, "ade20k": write_ade20k, "mask-folder": write_mask_folder}


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    raw.pop("hydra")

    def add(target: dict[str, Any], part: dict[str, Any]) -> None:
        for key, value in part.items():
            if isinstance(value, dict) and isinstance(target.get(key), dict) and key != "default":
                add(target[key], value)
            else:
                target[key] = copy.deepcopy(value)

    for part in parts:
        add(raw, part)
    return raw


def test_the_entries_to_copy_are_valid() -> None:
    params = validate(merged(VOC))
    assert [entry.background for entry in params.evaluate.segmentation_benchmarks] == [None, 0.1, None]
    assert validate(merged(VOC, OTHERS, WHOLE)).evaluate.segmentation_benchmarks[0].protocol == "freeze-align"
    assert validate(merged(HEADS)).aligners["default"].dense_head == "vit"


@pytest.mark.parametrize("name", ["voc", *OTHERS["datasets"]])
def test_each_data_set_is_read_in_the_layout_it_names(name: str, tmp_path: Path) -> None:
    entry = merged(VOC, OTHERS)["datasets"][name]
    folder = WRITERS[entry["source"]](tmp_path)
    raw = merged(VOC, {"datasets": {name: entry | {"path": str(folder)}}})
    about = build_index(validate(raw).datasets[name], tmp_path / "out", tmp_path)
    found = SegmentationSet(tmp_path / "out")
    assert about["pictures"] == len(found.pictures) > 1
    assert found.whole is (name == "voc-whole")
    for picture in found.pictures:
        assert (found.labels(picture) >= 0).any()


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ({"prompts": {"segmentation": []}}, "asks for 'voc' without prompts"),
        (
            {"views": {"vit-448": {"encoder": "vit-random"}}, "stores": {"voc-vit": {"encoder": "vit-random"}}},
            "its own",
        ),
        ({"views": {"vit-448": {"tier": "grid"}}}, "needs views of `tier: full`"),
        ({"stores": {"voc-vit": {"dataset": "composed"}}}, "add under `stores`: voc-vit-448"),
        ({"datasets": {"voc": {"group": "pairs"}}}, "'scenes'"),
        ({"datasets": {"voc": {"windows": {"side": 500}}}}, "do not fit into a short side of 448"),
        ({"evaluate": {"segmentation": [{"dataset": "stamps", "label": "category", "languages": ["it"]}]}}, "in 'it'"),
        ({"dense_heads": {"vit": {"image": "vit"}}}, "it needs `tier: full`"),
        ({"dense_heads": {"vit": {"text": "e5"}}}, "Name a head of those views"),
        ({"aligners": {"curated": {"dense_head": "vit"}}}, "dense_head needs `dense`"),
        ({"stores": {"training-vit": {"dataset": "composed"}}}, "needs 'training' through view 'vit-dense'"),
    ],
)
def test_what_contradicts_itself_is_named(part: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        validate(merged(VOC, part))
