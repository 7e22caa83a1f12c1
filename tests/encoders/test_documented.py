"""Every entry of docs/encoders.md through the stages `checkpoint` and `encode`, on a small model of its kind."""

import json
import re
from pathlib import Path

import pytest
import torch
import yaml

from pipeline.config import EncoderSpec, ImageView, TextView
from pipeline.config.catalogue import CATALOGUE, from_catalogue
from pipeline.encoders.checkpoint import materialise
from pipeline.paths import WORK_VARIABLE
from tests.encoders.dual_models import TEXTS
from tests.encoders.stored import PICTURES, assert_rounded, stored
from tests.encoders.tiny_models import TINY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "encoders.md"


def documented() -> dict[str, EncoderSpec]:
    """The entries in the second column of the table."""
    found = {}
    for code in re.findall(r"^\|[^|]*\| `(.*?})` \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE):
        ((name, keys),) = yaml.safe_load(code).items()
        found[name] = EncoderSpec.model_validate_json(json.dumps(from_catalogue(keys)))
    return found


DOCUMENTED = documented()


def test_every_entry_has_its_small_model() -> None:
    assert DOCUMENTED.keys() == TINY.keys()
    assert len(DOCUMENTED) > 25


@pytest.mark.parametrize("name", DOCUMENTED)
def test_stored_features_are_those_of_the_library(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    tiny, images = TINY[name], DOCUMENTED[name].modality == "image"
    tiny.make(tmp_path / "origin")
    entry = DOCUMENTED[name].model_copy(update={"source": "local", "model": str(tmp_path / "origin")})
    with torch.inference_mode():
        expected = tiny.reference(tmp_path / "origin", PICTURES if images else TEXTS)
    tier = "full" if "patch" in expected else "cls"
    view = ImageView(encoder="x", resolution=tiny.side, tier=tier) if images else TextView(encoder="x")
    materialise(entry, tmp_path / "checkpoint")
    assert_rounded(stored(entry, view, tmp_path / "checkpoint", tmp_path), expected, 1e-5)


def test_the_catalogue_is_on_the_page_and_names_models_as_their_libraries_do() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, keys in CATALOGUE.items():
        assert f"`{name}`" in page
        entry = EncoderSpec.model_validate_json(json.dumps(keys))
        assert entry.source in ("hub", "embedded")
        assert entry.model == name if entry.source == "embedded" else entry.model.endswith(f"/{name}")
        assert entry.revision is None, "a commit that nobody has looked up"
