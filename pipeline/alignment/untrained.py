"""An aligner with head `identity`: what is written where nothing is trained."""

import logging
from typing import Any

from pipeline.alignment.data.views import open_view
from pipeline.alignment.saved import HeadConfig
from pipeline.config import AlignerSpec
from pipeline.errors import DataError
from pipeline.features import FeatureStore
from pipeline.files import write_json
from pipeline.paths import MODELS

log = logging.getLogger(__name__)


def record_identity(name: str, spec: AlignerSpec, repeats: int) -> HeadConfig:
    """Check that two views share a space, and write data/models/<name>: config.json and metrics.json, no weights.

    Raises:
        DataError: the views differ in width, or are of two models and `two_models` does not allow it.
        StoreError: a store is missing or damaged.
        FingerprintMismatch: the stores of a view were not all written by the same encoder and settings.
    """
    image = open_view(spec.image, spec.data)[spec.data[0]]
    text = open_view(spec.text, spec.data)[spec.data[0]]
    width = _shared_width(name, spec, image, text)
    config = HeadConfig.of(
        name,
        spec,
        width,
        width,
        embed_dim=width,
        fingerprints={spec.image: image.fingerprint, spec.text: text.fingerprint},
        data=(),
        repeats=repeats,
        seeds=(),
        best_epochs=(),
        parameters=0,
    )
    folder = MODELS / name
    folder.mkdir(parents=True, exist_ok=True)
    nothing: dict[str, Any] = {
        "validation_recall": None,
        "seconds": 0.0,
        "samples_seen": 0,
        "parameters": 0,
        "repeats": {},
    }
    write_json(nothing, folder / "metrics.json")
    config.write(folder)
    log.info("%s: head identity, nothing is trained; features of width %d", name, width)
    return config


def _shared_width(name: str, spec: AlignerSpec, image: FeatureStore, text: FeatureStore) -> int:
    weights = [str(store.fingerprint["compared"].get("weights")) for store in (image, text)]
    if weights[0] != weights[1] and not spec.two_models:
        raise DataError(
            f"Aligner {name!r} has head identity, but its views {spec.image!r} and {spec.text!r} are of two models "
            f"(files {weights[0][:12]} and {weights[1][:12]}): name two views of one dual encoder, or set "
            "`two_models: true` where both models are known to share a space."
        )
    widths = image.shape("cls")[-1], text.shape("pooled")[-1]
    if widths[0] != widths[1]:
        raise DataError(
            f"Aligner {name!r} has head identity, but its image view {spec.image!r} has features of width "
            f"{widths[0]} and its text view {spec.text!r} of width {widths[1]}: name two views of one dual encoder, or "
            "train a head."
        )
    return int(widths[0])
