"""The stores of one view over several data sets; of a fused view, those of its members joined by id."""

from collections.abc import Iterable, Sequence

from pipeline.errors import FingerprintMismatch
from pipeline.features.by_id import RowsById
from pipeline.features.fused import FusedStore
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


def open_side(view: str, members: Sequence[str], datasets: Iterable[str], group: str = "pairs") -> dict[str, RowsById]:
    """What an aligner reads on one side, by data set; errors as `open_view`.

    Args:
        view: as the aligner calls it.
        members: the views that it fuses; the view alone where it is none of several.
    """
    datasets = list(datasets)
    if tuple(members) == (view,):
        return dict(open_view(view, datasets, group))
    stores = {member: open_view(member, datasets, group) for member in members}
    return {
        dataset: FusedStore(store_folder(group, view, dataset), {member: stores[member][dataset] for member in members})
        for dataset in datasets
    }
