"""Two views whose features share a space already: what head identity asks of them."""

from dataclasses import dataclass
from typing import Any

from pipeline.config import FitSpec, IdentityHead
from pipeline.errors import DataError
from pipeline.features import FeatureStore
from pipeline.features.views import open_view


@dataclass(frozen=True)
class SharedSpace:
    """What is known of the views of an aligner: widths and fingerprints by side, and the data sets it was fitted to."""

    widths: dict[str, int]
    fingerprints: dict[str, dict[str, Any]]
    datasets: tuple[str, ...] = ()


def open_shared_space(name: str, fit: FitSpec) -> SharedSpace:
    """Check that two views share a space.

    Raises:
        DataError: the views differ in width, or are of two models and `two_models` does not allow it.
        StoreError: a store is missing or damaged.
        FingerprintMismatch: the stores of a view were not all written by the same encoder and settings.
    """
    image, text = (open_view(view, fit.datasets)[fit.datasets[0]] for view in (fit.image, fit.text))
    width = _shared_width(name, fit, image, text)
    return SharedSpace({"image": width, "text": width}, {"image": image.fingerprint, "text": text.fingerprint})


def _shared_width(name: str, fit: FitSpec, image: FeatureStore, text: FeatureStore) -> int:
    assert isinstance(fit.head, IdentityHead)
    weights = [str(store.fingerprint["compared"].get("weights")) for store in (image, text)]
    if weights[0] != weights[1] and not fit.head.two_models:
        raise DataError(
            f"Aligner {name!r} has head identity, but its views {fit.image!r} and {fit.text!r} are of two models "
            f"(files {weights[0][:12]} and {weights[1][:12]}): name two views of one dual encoder, or set "
            "`two_models: true` where both models are known to share a space."
        )
    widths = image.shape("cls")[-1], text.shape("pooled")[-1]
    if widths[0] != widths[1]:
        raise DataError(
            f"Aligner {name!r} has head identity, but its image view {fit.image!r} has features of width "
            f"{widths[0]} and its text view {fit.text!r} of width {widths[1]}: name two views of one dual encoder, or "
            "train a head."
        )
    return int(widths[0])
