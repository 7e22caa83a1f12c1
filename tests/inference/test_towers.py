"""Another text tower on the same image tower."""

import json
import shutil

import numpy as np
import pytest

from pipeline import Aligner
from pipeline.errors import FingerprintMismatch
from tests.inference.conftest import Project, aligner
from tests.inference.test_use import Refuse


def test_the_other_text_tower_shares_the_loaded_image_encoder(copied: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(copied.model("grid"), copied.model("other"))
    shutil.copyfile(
        copied.model("grid") / "repeat_1/heads.safetensors", copied.model("other") / "repeat_0/heads.safetensors"
    )
    path = copied.model("other") / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"aligner": "other"}))
    model = aligner(copied)
    expected = Aligner.from_pretrained(copied.model("other"), device="cpu")
    pictures, texts = expected.encode_image(copied.pictures), expected.encode_text(["a guitar"])
    model.encode_image(copied.pictures[:1])
    monkeypatch.setattr("pipeline.inference.encoders.load_image_encoder", Refuse())
    swapped = model.with_text_tower(copied.model("other"))
    assert swapped.config.aligner == "other"
    np.testing.assert_array_equal(swapped.encode_image(copied.pictures), pictures)
    np.testing.assert_array_equal(swapped.encode_text(["a guitar"]), texts)
    assert np.abs(model.encode_text(["a guitar"]) - texts).max() > 0.01, "the first one stays what it was"
    hits = swapped.search(copied.store("grid"), "a guitar", k=3)
    assert [hit.score for hit in hits] == pytest.approx(np.sort(pictures @ texts[0])[::-1][:3].tolist(), abs=2e-3)


def test_another_image_view_is_no_swap(project: Project) -> None:
    with pytest.raises(FingerprintMismatch, match=r"another image view(?s:.*)resolution: found 224, expected 42"):
        aligner(project, "grid").with_text_tower(project.model("mean"))
