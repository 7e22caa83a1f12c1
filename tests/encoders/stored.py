"""Features of three pictures or five texts through the encode loop, and whether they are those that a library gives."""

import pickle
from pathlib import Path

import numpy as np

from pipeline.config import EncodeParams, EncoderSpec, ImageView, TextView
from pipeline.encoders.image import load_image_encoder
from pipeline.encoders.manifest import read_manifest
from pipeline.encoders.text import load_text_encoder
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.plan import Plan
from pipeline.encoding.rows import ImageRows, TextRows
from pipeline.encoding.run import StoreEncoder
from pipeline.features import FeatureStore
from tests.encoders.conftest import picture
from tests.encoders.dual_models import TEXTS

PICTURES = [picture(150, 110, 0), picture(90, 130, 1), picture(60, 60, 2)]
PARAMS = EncodeParams(batch_size=2, text_batch_size=2, workers=2)
HALF_STEP = 2.0**-11  # of float16, relative


def stored(entry: EncoderSpec, view: ImageView | TextView, checkpoint: Path, root: Path) -> FeatureStore:
    """Through the encode loop, from a finished checkpoint."""
    count = len(PICTURES) if entry.modality == "image" else len(TEXTS)
    ids = tuple(f"row{number}" for number in range(count))

    def load() -> ImageRows | TextRows:
        if isinstance(view, ImageView):
            encoder = load_image_encoder(checkpoint, entry, view, "cpu")
            assert len(pickle.dumps(encoder.preprocess)) < 100_000, "it goes to processes that hold no backbone"
            return ImageRows(encoder, view, lambda identifier: PICTURES[ids.index(identifier)], PARAMS)
        strings = dict(zip(ids, TEXTS, strict=True))
        return TextRows(load_text_encoder(checkpoint, entry, view, "cpu"), view, strings, PARAMS)

    fingerprint = fingerprint_of(read_manifest(checkpoint), entry, view)
    StoreEncoder("store", fingerprint, load, 0.0).run(Plan(ids, 3), root / "store")
    return FeatureStore.open(root / "store")


def assert_rounded(store: FeatureStore, expected: dict[str, np.ndarray], order_of_sums: float) -> None:
    """A store holds these float32 arrays rounded to float16, but for the order of sums, relative to the largest."""
    for array, values in expected.items():
        found = np.asarray(store.read(array, store.ids))
        assert found.dtype == np.float16
        found = found[:, -1] if array == "cls" else found
        assert found.shape == values.shape
        spread = np.abs(values - values.mean(axis=0)).max()
        assert spread > 0.01, "the samples must differ, or this shows nothing"
        limit = HALF_STEP * np.abs(values) + order_of_sums * np.abs(values).max() + 2.0**-25
        assert (np.abs(found.astype(np.float32) - values) <= limit).all(), np.abs(found - values).max()
