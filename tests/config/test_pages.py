"""What README and docs show of params.yaml is valid where it would be pasted."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.commands.presets import TESTS, TRAINING, preset_entries
from pipeline.config import FreezeAlignHead
from pipeline.config.load import validate
from tests.config.pages import blocks, merged

(ENCODERS,) = blocks("README.md")
PASTED = {
    f"{page}, block {number}": block
    for page in (
        "docs/recipes.md",
        "docs/ensembles.md",
        "docs/unpaired.md",
        "docs/store.md",
        "docs/training.md",
        "docs/encoders.md",
        "docs/clip_benchmark.md",
        "docs/similarity.md",
        "docs/why_cka.md",
        "docs/params.md",
        "docs/aligner.md",
        "docs/commands.md",
        "docs/fusion.md",
        "docs/clusters.md",
        "docs/curation.md",
        "docs/object_stores.md",
    )
    for number, block in enumerate(blocks(page))
}


@pytest.mark.parametrize("block", [ENCODERS, *PASTED.values()], ids=["README.md, encoders", *PASTED])
def test_a_block_to_paste(block: dict[str, Any]) -> None:
    validate(merged(block))


def test_the_keys_that_the_readme_sweeps_are_there() -> None:
    default = merged()["aligners"]["default"]["head"]["forms"]
    assert "ridge" in default["kernel-ridge"]
    assert "shrink" in default["cca"]


def test_a_head_on_tokens_is_one_of_projectors() -> None:
    head = validate(merged(blocks("docs/store.md")[0])).aligners["tokens"].head
    assert isinstance(head, FreezeAlignHead)
    assert head.text_tokens == "full"


def test_the_papers_model_is_the_preset() -> None:
    (project,) = blocks("docs/paper.md")
    assert project == preset_entries("dinov2-arl", Path("/data"), [*TRAINING, *TESTS])
    head = validate(project).aligners["arl"].head
    assert isinstance(head, FreezeAlignHead)


def test_sounds_of_ones_own_as_the_page_has_them() -> None:
    own, views = blocks("docs/modalities.md")[:2]
    params = validate(merged(own, views))
    assert {params.views[name].modality for name in ("ear", "ear-moments", "ear-frames", "ear-search")} == {"audio"}


def test_videos_of_the_page_on_modalities() -> None:
    params = validate(merged(blocks("docs/modalities.md")[-1]))
    assert (params.modality("watch"), params.stores.by_name()["films-watch"].dataset) == ("video", "films")
