"""The entries of docs/baselines.md fit params.yaml, and their names are those that open_clip knows."""

import re

import pytest
import yaml

from pipeline.config import evaluated
from pipeline.config.load import validate
from pipeline.encoders.open_clip_parts import hub_name
from tests.config.pages import blocks, merged

FULL, LONG, RIVALS = blocks("docs/baselines.md")
NAMES = sorted({name.rpartition("-")[0] for name in RIVALS["encoders"]})


def test_the_entry_to_copy_is_valid() -> None:
    clip = validate(merged(FULL)).aligners["clip"]
    assert (clip.head.kind, clip.data) == ("identity", "none")
    assert evaluated(validate(merged(FULL, LONG)))["clip"].scenes == "clip-image"


@pytest.mark.parametrize("name", NAMES)
def test_a_rival_is_that_entry_with_other_encoders(name: str) -> None:
    text = yaml.safe_dump({section: entries for section, entries in FULL.items() if section != "encoders"})
    rest = yaml.safe_load(re.sub(r"\bclip\b", name, text))
    rest["aligners"][name]["head"]["two_models"] = name == "mclip"
    encoders = {key: value for key, value in RIVALS["encoders"].items() if key.startswith(f"{name}-")}
    assert len(encoders) == 2
    validate(merged(rest, {"encoders": encoders}))


def test_every_architecture_and_tag_is_one_of_open_clip() -> None:
    models = {entry["model"] for entry in RIVALS["encoders"].values() if entry["loader"] == "open_clip"}
    repositories = {model: hub_name(model)[0] for model in models}
    assert len(repositories) == 6
    assert repositories["nllb-clip-base:v1"] == "visheratin/nllb-clip-base-oc"
    assert all(config is not None for _, config in map(hub_name, models))
