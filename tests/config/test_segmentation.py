"""The entries of docs/segmentation.md fit params.yaml and the layouts they name; what contradicts itself is named."""

import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import CaptionHeadSpec, SegmentationBenchmarksParams
from pipeline.config.load import validate
from pipeline.datasets.index import build_index
from pipeline.datasets.segmentation import SegmentationSet
from pipeline.errors import ConfigError
from tests.config.pages import blocks, merged
from tests.datasets.label_maps import write_ade20k, write_context, write_mask_folder, write_voc

VOC, OTHERS, WHOLE, HEADS, TOLD = blocks("docs/segmentation.md")
WRITERS = {"voc": write_voc, "pascal-context": write_context, "ade20k": write_ade20k, "mask-folder": write_mask_folder}
SET: dict[str, Any] = {"dataset": "voc", "views": {"default": "vit-448"}, "prompt_set": "ensemble"}


def benchmarks(*parts: dict[str, Any]) -> SegmentationBenchmarksParams:
    task = validate(merged(*parts)).evaluate.named["segmentation_benchmarks"]
    assert isinstance(task, SegmentationBenchmarksParams)
    return task


def sets(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"evaluate": {"tasks": {"segmentation_benchmarks": {"sets": list(entries)}}}}


def test_the_entries_to_copy_are_valid() -> None:
    assert [entry.background for entry in benchmarks(VOC).sets] == [None, 0.1, None]
    assert benchmarks(VOC, OTHERS, WHOLE).sets[0].protocol == "freeze-align"
    assert validate(merged(HEADS)).aligners["default"].evaluation.dense_head == "vit"
    assert validate(merged(TOLD)).aligners["default"].evaluation.caption_head == "vit-captions"


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
        (sets(SET | {"prompt_set": "many"}), "names 'many', which is not under `prompts.sets`"),
        (
            {
                "views": {"vit-448": {"encoder": "vit-random"}},
                "stores": {"pairs": {"voc-vit": {"encoder": "vit-random"}}},
            },
            "its own encoder is 'vit-s14'",
        ),
        ({"views": {"vit-448": {"tier": "grid"}}}, "needs views of `tier: full`"),
        ({"views": {"minilm": {"languages": ["en"]}}}, "which view 'minilm' does not encode"),
        ({"stores": {"pairs": {"voc-vit": {"dataset": "stamps"}}}}, "add under `stores.pairs`: voc-vit-448"),
        ({"curations": {"all": {"pool": ["stamps", "voc"]}}}, "whose label maps are for evaluation alone"),
        ({"evaluate": {"tasks": {"retrieval": {"datasets": ["voc"]}}}}, "whose label maps are for"),
        ({"datasets": {"voc": {"windows": {"side": 500}}}}, "do not fit into a short side of 448"),
        (
            {
                "evaluate": {
                    "tasks": {
                        "segmentation": {
                            "classes": [{"dataset": "stamps", "label": "category", "languages": ["it"]}],
                        }
                    }
                }
            },
            "in 'it'",
        ),
        ({"dense_heads": {"vit": {"image": "vit"}}}, "it needs `tier: full`"),
        ({"dense_heads": {"vit": {"text": "e5"}}}, "Name a head of those views"),
        ({"dense_heads": {"vit": {"scenes": "composed"}}}, "name scenes of `use: training`"),
        ({"aligners": {"curated": {"evaluation": {"dense_head": "vit"}}}}, "dense_head needs `dense`"),
        ({"aligners": {"curated": {"evaluation": {"caption_head": "vit"}}}}, "caption_head needs `dense`"),
        (
            {"aligners": {"default": {"evaluation": {"caption_head": "vit"}}}},
            "is 'vit' of `supervision: masks`; it takes a head of `supervision: captions`",
        ),
        (
            {"aligners": {"default": {"evaluation": {"dense_head": "vit-captions"}}}},
            "is 'vit-captions' of `supervision: captions`; it takes a head of `supervision: masks`",
        ),
        ({"aligners": {"default": {"evaluation": {"caption_head": "many"}}}}, "names 'many'"),
        (
            {"dense_heads": {"vit": {"iterations": 3}}},
            "`dense_heads.vit.iterations` has no effect with supervision: masks of `dense_heads.vit`; it belongs to "
            "supervision: captions",
        ),
        ({"dense_heads": {"vit-captions": {"iteration": 3}}}, "`dense_heads.vit-captions.iteration` is not a key"),
        ({"dense_heads": {"vit": {"supervision": "boxes"}}}, "'masks', 'captions'"),
        ({"dense_heads": {"vit-captions": {"image": "vit"}}}, "it needs `tier: full`"),
        (
            {
                "scenes": {"more": {"pieces": ["stamps"], "use": "training"}},
                "dense_heads": {"vit": {"scenes": "more"}},
            },
            "needs 'more' through view 'vit-dense'",
        ),
    ],
)
def test_what_contradicts_itself_is_named(part: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        validate(merged(VOC, part))


def test_a_dense_head_learns_from_masks_unless_its_entry_says_captions() -> None:
    heads = validate(merged()).dense_heads
    assert {name: head.supervision for name, head in heads.items()}["vit"] == "masks"
    told = heads["vit-captions"]
    assert isinstance(told, CaptionHeadSpec)
    assert (told.iterations, told.matching) == (10, 0.03)
