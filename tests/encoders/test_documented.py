"""Every entry of docs/encoders.md through the stages `checkpoint` and `encode`, on a small model of its kind."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from pipeline.config.catalogue import CATALOGUE, from_catalogue
from pipeline.config.schema import EncodeParams, EncoderSpec, ViewSpec
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import Plan
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.encoding.run import StoreEncoder
from pipeline.features import FeatureStore
from pipeline.paths import WORK_VARIABLE
from tests.encoders.conftest import picture
from tests.encoders.dual_models import TEXTS
from tests.encoders.tiny_models import TINY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "encoders.md"
PICTURES = [picture(150, 110, 0), picture(90, 130, 1), picture(60, 60, 2)]
PARAMS = EncodeParams(batch_size=2, text_batch_size=2, workers=2)
HALF_STEP = 2.0**-11  # of float16, relative


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


def stored(entry: EncoderSpec, view: ViewSpec, root: Path) -> FeatureStore:
    manifest = materialise(entry, root / "checkpoint")
    count = len(PICTURES) if entry.modality == "image" else len(TEXTS)
    ids = tuple(f"row{number}" for number in range(count))

    def load() -> ImageRows | TextRows:
        if entry.modality == "image":
            encoder = load_image_encoder(root / "checkpoint", entry, view, "cpu")
            return ImageRows(encoder, view, lambda identifier: PICTURES[ids.index(identifier)], PARAMS)
        strings = dict(zip(ids, TEXTS, strict=True))
        return TextRows(load_text_encoder(root / "checkpoint", entry, view, "cpu"), view, strings, PARAMS)

    StoreEncoder("store", fingerprint_of(manifest, entry, view), load, 0.0).run(Plan(ids, 3), root / "store")
    return FeatureStore.open(root / "store")


@pytest.mark.parametrize("name", DOCUMENTED)
def test_stored_features_are_those_of_the_library(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    tiny, images = TINY[name], DOCUMENTED[name].modality == "image"
    tiny.make(tmp_path / "origin")
    entry = DOCUMENTED[name].model_copy(update={"source": "local", "model": str(tmp_path / "origin")})
    with torch.inference_mode():
        expected = tiny.reference(tmp_path / "origin", PICTURES if images else TEXTS)
    tier = "full" if "patch" in expected else "cls"
    view = ViewSpec(encoder="x", resolution=tiny.side, tier=tier) if images else ViewSpec(encoder="x")
    store = stored(entry, view, tmp_path)
    for array, values in expected.items():
        found = np.asarray(store.read(array, store.ids))
        assert found.dtype == np.float16
        found = found[:, -1] if array == "cls" else found
        assert found.shape == values.shape
        spread = np.abs(values - values.mean(axis=0)).max()
        assert spread > 0.01, "the samples must differ, or this shows nothing"
        limit = HALF_STEP * np.abs(values) + 1e-5 * np.abs(values).max() + 2.0**-25
        assert (np.abs(found.astype(np.float32) - values) <= limit).all(), np.abs(found - values).max()


def test_the_papers_encoders_are_in_the_catalogue() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, keys in CATALOGUE.items():
        assert f"`{name}`" in page
        entry = EncoderSpec.model_validate_json(json.dumps(keys))
        assert entry.source == "hub"
        assert entry.model.endswith(f"/{name}")
        assert entry.revision is None, "a commit that nobody has looked up"
