"""What an ensemble costs: the heads of all members, and each encoder once."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.accounting import account
from tests.accounting.conftest import EYE, NAMES, WORDS


def costs(folder: Path, ensembles: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    account(folder / "out", NAMES.model_copy(update={"ensembles": ensembles}))
    content: dict[str, Any] = json.loads((folder / "out/costs.json").read_text())
    return content


def other_texts(run: Path, weights: str) -> None:
    """Aligner `again` takes its texts through another view."""
    path = run / "data/models/again/config.json"
    config = json.loads(path.read_text())
    config["views"]["text"] = "mine"
    config["fingerprints"]["text"] = {"digest": "mine", "compared": {"weights": weights}, "described": {"model": "m"}}
    path.write_text(json.dumps(config))


def test_an_encoder_of_several_members_counts_once(run: Path) -> None:
    (entry,) = costs(run, {"two": ("default", "again")})["ensembles"]
    assert (entry["aligner"], entry["of"]) == ("two", ["again", "default"])
    assert (entry["trainable"], entry["kept"]) == (6, 10)
    assert entry["total"] == 6 + 10 + EYE + WORDS
    assert entry["trainable_share"] == pytest.approx(6 / entry["total"])
    assert (entry["samples_seen"], entry["train_seconds"]) == (0, 0.0)
    assert entry["seconds_at_use"] == pytest.approx({"image": 0.3, "text": 0.05})
    assert entry["image_encoder"] == {"view": "eye", "model": "eye-net", "parameters": EYE}


def test_two_views_of_one_encoder_are_two_passes_and_one_encoder(run: Path) -> None:
    weights = json.loads((run / "data/models/again/config.json").read_text())["fingerprints"]["text"]["compared"]
    other_texts(run, weights["weights"])
    content = costs(run, {"two": ("default", "again")})
    (entry,) = content["ensembles"]
    assert entry["total"] == 6 + 10 + EYE + WORDS
    assert [one["view"] for one in entry["text_encoder"]["members"]] == ["mine", "words"]
    assert entry["seconds_at_use"]["text"] is None  # no run of the view `mine` is on record
    assert json.loads((run / "out/costs.summary.json").read_text())["ensembles"]["two"]["total"] == entry["total"]


def test_an_ensemble_with_an_unknown_encoder_is_left_out_and_no_ratio_counts_one(run: Path) -> None:
    before = costs(run, {})
    content = costs(run, {"two": ("default", "again")})
    assert {key: content[key] for key in ("aligners", "ratios", "left_out")} == {
        key: before[key] for key in ("aligners", "ratios", "left_out")
    }
    other_texts(run, "0" * 64)
    content = costs(run, {"two": ("default", "again")})
    assert content["ensembles"] == []
    assert "ensemble two, for want of aligner again: the encoder of view mine" in content["left_out"][-1]
