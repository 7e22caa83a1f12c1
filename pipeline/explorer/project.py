"""The aligners of a project, and for each the data sets whose stores it can read."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.alignment import HeadConfig, ProjectionHeads
from pipeline.alignment.dense.head import DenseHead
from pipeline.errors import DataError, FingerprintMismatch, ModelError, StoreError
from pipeline.explorer.collection import Collection
from pipeline.explorer.flat_map import Plane, flat_map
from pipeline.features import FeatureStore
from pipeline.inference import Aligner


@dataclass(frozen=True)
class Places:
    """Stores of one data set in the views of an aligner, several for a fused view, and its index."""

    images: tuple[Path, ...]
    texts: tuple[Path, ...] | None
    index: Path


@dataclass
class Explored:
    """An aligner, loaded when it is first used; one request at a time computes with it.

    Attributes:
        heads: that make the vectors of pictures and texts: its own, or those of the space that it was added to.
        datasets: by name.
        dense_heads: of its image view, by name.
        hears: whether it takes sounds.
    """

    name: str
    folder: Path
    heads: ProjectionHeads
    datasets: dict[str, Places]
    dense_heads: dict[str, Path]
    hears: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    _aligner: Aligner | None = None
    _collections: dict[str, Collection] = field(default_factory=dict)
    _maps: dict[tuple[str, Plane], dict[str, Any]] = field(default_factory=dict)

    @property
    def aligner(self) -> Aligner:
        """With its frozen encoders, which are loaded at their first use."""
        self._aligner = self._aligner or Aligner.from_pretrained(self.folder)
        return self._aligner

    @property
    def bits(self) -> int | None:
        """How many bits of deep pictures its image view states."""
        stated: int | None = self.heads.config.fingerprints["image"]["compared"].get("bits")
        return stated

    def collection(self, dataset: str) -> Collection:
        """The rows of one of its data sets.

        Raises:
            DataError: it has no such data set.
        """
        if dataset not in self.datasets:
            raise DataError(f"{self.name} has no data set {dataset!r}; it has {', '.join(self.datasets) or 'none'}.")
        if dataset not in self._collections:
            places = self.datasets[dataset]
            self._collections[dataset] = Collection(dataset, places.images, places.texts, places.index, self.heads)
        return self._collections[dataset]

    def map(self, dataset: str, data: Path, plane: Plane) -> dict[str, Any]:
        """The map of a data set, see `flat_map`; kept for the next call, as PaCMAP takes seconds."""
        if (dataset, plane) not in self._maps:
            self._maps[dataset, plane] = flat_map(self.collection(dataset), data, plane=plane)
        return self._maps[dataset, plane]

    def as_json(self) -> dict[str, Any]:
        """What the page needs to know of it."""
        config = self.heads.config
        return {
            "name": self.name,
            "views": dict(config.views),
            "kind": config.kind,
            "datasets": list(self.datasets),
            "dense_heads": list(self.dense_heads),
            "hears": self.hears,
        }


class Project:
    """The fitted aligners below a folder.

    Args:
        root: of the project; its folder data has models, features and index.

    Raises:
        ModelError: there is no fitted aligner, or none has a store to search.
    """

    def __init__(self, root: Path) -> None:
        self.data = root / "data"
        stores = list(self._stores())
        self.aligners = {
            one.name: one for one in (self._explored(folder, stores) for folder in self._folders()) if one.datasets
        }
        if not self.aligners:
            raise ModelError(
                f"Expected a fitted aligner with its stores below {self.data} (models, features, index); found none. "
                "Run `make repro`, or `dvc repro train@NAME` for one aligner, and start the explorer there."
            )

    def __getitem__(self, name: str) -> Explored:
        """An aligner by name.

        Raises:
            DataError: there is none of that name.
        """
        if name not in self.aligners:
            raise DataError(f"There is no aligner {name!r}; there are {', '.join(self.aligners)}.")
        return self.aligners[name]

    def _folders(self) -> list[Path]:
        found = [path.parent for path in sorted((self.data / "models").glob("*/config.json"))]
        return sorted(found, key=lambda folder: folder.name != "default")  # the default first

    def _stores(self) -> Iterator[tuple[Path, FeatureStore]]:
        for path in sorted((self.data / "features").glob("*/*/*/zarr.json")):
            try:
                yield path.parent, FeatureStore.open(path.parent)
            except StoreError:
                continue  # damaged or of another format: `python -m pipeline.store verify` says why

    def _explored(self, folder: Path, stores: list[tuple[Path, FeatureStore]]) -> Explored:
        own = ProjectionHeads.from_folder(folder)
        heads = own.space or own
        images, texts = (_of_modality(heads.config, modality, stores) for modality in ("image", "text"))
        datasets = {}
        for (group, dataset), folders in images.items():
            index = self.data / "index" / group / dataset
            if (index / "images.parquet").is_file():
                datasets[dataset] = Places(folders, texts.get((group, dataset)), index)
        hears = "audio" in own.config.modalities
        dense = self._dense(heads) if "image" in heads.config.modalities else {}
        return Explored(folder.name, folder, heads, datasets, dense, hears)

    def _dense(self, heads: ProjectionHeads) -> dict[str, Path]:
        found = {}
        for path in sorted((self.data / "dense").glob("*/config.json")):
            try:
                DenseHead.from_folder(path.parent.name, 0, path.parent.parent).require_encoders_of(heads.config, "")
            except (ModelError, FingerprintMismatch):
                continue
            found[path.parent.name] = path.parent
        return found


def _of_modality(
    config: HeadConfig, modality: str, stores: list[tuple[Path, FeatureStore]]
) -> dict[tuple[str, str], tuple[Path, ...]]:
    """By group and data set the stores of all views of a modality; data sets that lack one are absent."""
    side = config.modalities.get(modality)
    if side is None:
        return {}
    wanted = [one["digest"] for one in config.members(side).values()]
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path, store in stores:
        if store.digest in wanted:
            found.setdefault((path.parent.parent.name, path.name), {}).setdefault(store.digest, path)
    return {place: tuple(by_digest.values()) for place, by_digest in found.items() if len(by_digest) == len(wanted)}
