"""Crops: the same at every run, within the picture, of the asked share; features are those of cropped pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import EncodeParams, ImageView
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoding.crops import crop_box
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.rows import ImageRows
from pipeline.inference.recorded import recorded_specs
from tests.dag import tiny
from tests.encoders.conftest import picture, spec


@settings(max_examples=200, deadline=None)
@given(st.text(), st.integers(0, 20), st.integers(1, 3000), st.integers(1, 3000), st.floats(0.05, 0.9))
def test_a_crop_lies_within_its_picture(identifier: str, number: int, width: int, height: int, least: float) -> None:
    left, upper, right, lower = crop_box(identifier, number, (width, height), (least, 1.0))
    assert 0 <= left < right <= width
    assert 0 <= upper < lower <= height
    if min(width, height) > 100:
        assert (right - left) * (lower - upper) >= 0.95 * least * width * height
    assert (left, upper, right, lower) == crop_box(identifier, number, (width, height), (least, 1.0))


def test_crops_differ_and_spread_over_the_scale() -> None:
    boxes = {crop_box(str(i), n, (200, 150), (0.2, 1.0)) for i in range(50) for n in range(4)}
    shares = np.array([(r - x) * (b - y) / (200 * 150) for x, y, r, b in boxes])
    assert len(boxes) > 180
    assert 0.15 < np.quantile(shares, 0.1) < 0.4
    assert np.quantile(shares, 0.9) > 0.75


@pytest.mark.parametrize("tier", ["cls", "grid", "full"])
def test_features_of_crops_are_those_of_cropped_pictures(tier: str, tmp_path: Path) -> None:
    tiny.write_image_checkpoint(tmp_path / "eye", 0)
    entry = spec("image", "transformers", str(tmp_path / "eye"), layers=[1, 2])
    manifest = materialise(entry, tmp_path / "made")
    regions = {"grid": 1} if tier == "grid" else {}
    kept: Any = {"tier": tier, "crops": 2, "crop_scale": (0.3, 0.8), **regions}
    view = ImageView(encoder="x", resolution=28, **kept)
    encoder = load_image_encoder(tmp_path / "made", entry, view, "cpu")
    ids = ["0", "1", "2"]
    rows = ImageRows(encoder, view, lambda i: picture(90, 60, int(i)), EncodeParams(batch_size=2))
    plain_view = view.model_copy(update={"crops": 0})
    plain = ImageRows(encoder, plain_view, lambda i: picture(90, 60, int(i)), EncodeParams(batch_size=2))
    found, whole = list(rows.encode(ids)), list(plain.encode(ids))
    assert {s.name: s.row_shape for s in rows.specs}["crop_cls"] == (2, 2, 16)
    assert not [s.name for s in rows.specs if s.name == "crop_patch"]
    for batch, bare in zip(found, whole, strict=True):
        assert batch.positions == bare.positions
        for name, values in bare.arrays.items():
            np.testing.assert_allclose(batch.arrays[name], values, atol=1e-5)
        for place, position in enumerate(batch.positions):
            for number in range(2):
                box = crop_box(ids[position], number, (90, 60), (0.3, 0.8))
                pixels = encoder.preprocess(picture(90, 60, position).crop(box))
                alone = plain.forward([0], [pixels]).arrays
                for name in alone.keys() - {"patch"}:
                    np.testing.assert_allclose(batch.arrays[f"crop_{name}"][place, number], alone[name][0], atol=1e-5)
    compared = fingerprint_of(manifest, entry, plain_view).compared
    assert not {"crops", "crop_scale"} & compared.keys()
    fingerprint = fingerprint_of(manifest, entry, view)
    assert fingerprint.compared == compared | {"crops": 2, "crop_scale": [0.3, 0.8]}
    again = recorded_specs(fingerprint.as_dict(), "here")[1]
    assert (again.crops, again.crop_scale) == (2, (0.3, 0.8))


def test_an_unreadable_picture_has_no_crops_either(tmp_path: Path) -> None:
    from pipeline.errors import DataError

    tiny.write_image_checkpoint(tmp_path / "eye", 0)
    entry = spec("image", "transformers", str(tmp_path / "eye"))
    materialise(entry, tmp_path / "made")
    view = ImageView(encoder="x", resolution=28, tier="cls", crops=1)

    def load_picture(identifier: str) -> object:
        if identifier == "bad":
            raise DataError("not an image")
        return picture()

    rows = ImageRows(load_image_encoder(tmp_path / "made", entry, view, "cpu"), view, load_picture, EncodeParams())  # type: ignore[arg-type]
    (batch,) = rows.encode(["good", "bad"])
    assert batch.reasons == [None, "not an image"]
    assert np.isnan(batch.arrays["crop_cls"][1]).all()
    assert np.isfinite(batch.arrays["crop_cls"][0]).all()
