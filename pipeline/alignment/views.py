"""Reading what a head needs from the feature stores of a view."""

import logging
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from pipeline.alignment.inputs import ImageInput, TextInput
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.features import FeatureStore
from pipeline.paths import store_folder

log = logging.getLogger(__name__)


def open_view(view: str, datasets: Iterable[str], group: str = "pairs") -> dict[str, FeatureStore]:
    """The stores of one view, by data set.

    Raises:
        StoreError: a store is missing or damaged.
        FingerprintMismatch: they were not all written by the same encoder and settings.
    """
    stores = {dataset: FeatureStore.open(store_folder(group, view, dataset)) for dataset in datasets}
    digests = {dataset: digest_of(store) for dataset, store in stores.items()}
    if len(set(digests.values())) > 1:
        listed = ", ".join(f"{dataset} {digest[:12]}" for dataset, digest in digests.items())
        raise FingerprintMismatch(
            f"The stores of view {view!r} hold features of different encoders or settings ({listed}). "
            "Encode them again with: dvc repro"
        )
    return stores


def digest_of(store: FeatureStore) -> str:
    """The fingerprint digest of a store."""
    return str(store.fingerprint["digest"])


def servable(store: FeatureStore, ids: np.ndarray, what: str) -> np.ndarray:
    """Which of `ids` have a feature, (n,) bool: false where the sample could not be encoded.

    Args:
        ids: (n,) str.
        what: for the message, e.g. "emoji through view vit".

    Raises:
        DataError: an id is not in the store at all, so index and store are not of one run.
    """
    valid = dict(zip(store.ids.tolist(), store.valid.tolist(), strict=True))
    lacking = [identifier for identifier in ids if identifier not in valid]
    if lacking:
        raise DataError(
            f"The feature store of {what} lacks {len(lacking)} of {len(ids)} ids that data/splits names, "
            f"the first {lacking[0]!r}. Bring index and store together with: dvc repro"
        )
    mask = np.array([valid[identifier] for identifier in ids], dtype=bool)
    if not mask.all():
        log.warning("%s: %d of %d rows could not be encoded and are left out", what, (~mask).sum(), len(mask))
    return mask


def read_images(store: FeatureStore, ids: np.ndarray, local_tokens: str) -> ImageInput:
    """Features of images in the dtype of the store; of several kept layers, the last.

    Args:
        local_tokens: "grid", "patch", or "mean" (the mean patch token, as a single token).

    Raises:
        DataError: the store does not hold those tokens.
        MissingRows: an id is absent or not valid.
    """
    if local_tokens not in store.names:
        raise DataError(
            f"local_tokens: {local_tokens} needs the array {local_tokens!r}; the store holds "
            f"{', '.join(store.names)}. Choose local_tokens: mean for the aligner, or raise the tier of its view."
        )
    return ImageInput(
        cls=_last_layer(store.read(_summary(store), ids)),
        local=_last_layer(store.read("mean", ids))[:, None, :]
        if local_tokens == "mean"
        else torch.from_numpy(store.read(local_tokens, ids)),
    )


def read_texts(store: FeatureStore, ids: np.ndarray) -> TextInput:
    """Sentence embeddings as texts of one token, in the dtype of the store.

    Raises:
        MissingRows: an id is absent or not valid.
    """
    return TextInput.from_pooled(torch.from_numpy(store.read("pooled", ids)))


def _summary(store: FeatureStore) -> str:
    """The array that stands for the whole image: the CLS token, or what an encoder without one pools itself."""
    return "cls" if "cls" in store.names else "pooled"


def _last_layer(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array if array.ndim == 2 else np.ascontiguousarray(array[:, -1]))
