"""Features of the embedded encoders must stay what they are until ENCODING_VERSION says otherwise.

After a change that is meant to move features, bump ENCODING_VERSION and write the file anew:
    python -m tests.encoding.test_golden
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from pipeline.config import EncodeParams, load_config
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.features.fingerprint import ENCODING_VERSION

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden.json")
VIEWS = ("vit", "control", "lite0", "minilm", "e5")
TEXTS = ("a red kite", "ein roter Drachen", "a cat sleeping on a warm windowsill in the afternoon sun")
PARAMS = EncodeParams(batch_size=3, text_batch_size=3)
SHOWN = 16  # features kept of each row and array


def picture(identifier: str) -> Image.Image:
    """Shapes and a gradient, so that edges, colours and resizing all matter."""
    number = int(identifier)
    ramp = np.linspace(0, 255, 300, dtype=np.uint8)
    image = Image.fromarray(np.stack([np.tile(ramp, (200, 1))] * 3, axis=-1))
    draw = ImageDraw.Draw(image)
    draw.ellipse((20 + 30 * number, 20, 160 + 30 * number, 160), fill=(220, 60 * number, 40))
    draw.rectangle((200, 100, 280, 190 - 20 * number), fill=(30, 90, 200))
    return image


def features(view_name: str, folder: Path) -> dict[str, np.ndarray]:
    """The first features of three samples through the whole path of a view: array -> (3, ..., SHOWN) float32."""
    config = load_config(ROOT / "params.yaml")
    view = config.section(f"views.{view_name}")
    spec = config.section(f"encoders.{view.encoder}")
    materialise(spec, folder / view.encoder)
    if spec.modality == "image":
        rows: ImageRows | TextRows = ImageRows(
            load_image_encoder(folder / view.encoder, spec, view, "cpu"), view, picture, PARAMS
        )
        ids = ["0", "1", "2"]
    else:
        strings = {str(number): text for number, text in enumerate(TEXTS)}
        rows = TextRows(load_text_encoder(folder / view.encoder, spec, view, "cpu"), view, strings, PARAMS)
        ids = list(strings)
    (batch,) = rows.encode(ids)
    order = np.argsort(batch.positions)
    return {name: values[order][..., :SHOWN].astype(np.float32) for name, values in batch.arrays.items()}


@pytest.mark.parametrize("view", VIEWS)
def test_features_are_those_of_this_encoding_version(view: str, tmp_path: Path) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert golden["encoding_version"] == ENCODING_VERSION, f"write {GOLDEN.name} anew, as its test says"
    made = features(view, tmp_path)
    assert made.keys() == golden["views"][view].keys()
    for name, values in made.items():
        expected = np.array(golden["views"][view][name], dtype=np.float32)
        scale = float(np.abs(expected).mean())
        np.testing.assert_allclose(
            values, expected, atol=2e-3 * scale, rtol=2e-3, err_msg="features moved: bump ENCODING_VERSION"
        )


def _write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        views = {
            view: {name: np.round(values, 5).tolist() for name, values in features(view, Path(folder)).items()}
            for view in VIEWS
        }
    GOLDEN.write_text(json.dumps({"encoding_version": ENCODING_VERSION, "views": views}) + "\n", encoding="utf-8")
    sys.stdout.write(f"wrote {GOLDEN}\n")


if __name__ == "__main__":
    _write()
