"""The stores of one view over several data sets."""

from collections.abc import Iterable

from pipeline.errors import FingerprintMismatch
from pipeline.features.reader import FeatureStore
from pipeline.paths import store_folder


def open_view(view: str, datasets: Iterable[str], group: str = "pairs") -> dict[str, FeatureStore]:
    """The stores of one view, by data set.

    Raises:
        StoreError: a store is missing or damaged.
        FingerprintMismatch: they were not all written by the same encoder and settings.
    """
    stores = {dataset: FeatureStore.open(store_folder(group, view, dataset)) for dataset in datasets}
    digests = {dataset: store.digest for dataset, store in stores.items()}
    if len(set(digests.values())) > 1:
        listed = ", ".join(f"{dataset} {digest[:12]}" for dataset, digest in digests.items())
        raise FingerprintMismatch(
            f"The stores of view {view!r} hold features of different encoders or settings ({listed}). "
            "Encode them again with: dvc repro"
        )
    return stores
