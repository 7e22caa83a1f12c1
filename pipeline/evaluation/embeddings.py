"""Vectors in the shared space of a fitted aligner, from the features that it was fitted to."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from pipeline.alignment.head_config import SPACE_FOLDER, VIEWS_CHOICE, HeadConfig
from pipeline.alignment.saved import ProjectionHeads, head_entry
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
from pipeline.alignment.zero_shot import classifier
from pipeline.config import AUTO, EvaluatedAligner
from pipeline.errors import FingerprintMismatch, ModelError
from pipeline.features.by_id import RowsById, SomeIds
from pipeline.features.views import open_side
from pipeline.ids import Ids
from pipeline.paths import MODELS, store_folder, train_stage


class TrainedAligner:
    """The heads of an aligner together with the feature stores of its views.

    Attributes:
        name: as in params.yaml.
        spec: its head and views there.
        config: what was recorded at training.
        views: by side, what its view is called.
    """

    def __init__(self, name: str, spec: EvaluatedAligner, repeats: int, device: torch.device) -> None:
        """Read the saved config and check that it is of these parameters.

        Raises:
            ModelError: the aligner is missing, or was fitted with another head, other views or repeats.
        """
        self.name, self.spec, self._device = name, spec, device
        self.config = HeadConfig.read(MODELS / name)
        self.views = self.config.views
        recorded = {"head": self.config.head, "views": self.config.views, "repeats": self.config.repeats}
        chosen = self.config.choices.get(VIEWS_CHOICE, {})
        recorded |= {"compare": chosen.get("compare"), "fusions": self.config.fusions}
        if further := bool(self.config.space or spec.fit.space or self.config.kinds or spec.fit.kinds):
            recorded |= {"space": self.config.space, "kinds": self.config.kinds}
        named = {"image": spec.fit.image, "text": spec.fit.text}
        views = {side: self.config.views[side] if view == AUTO else view for side, view in named.items()}
        expected = {"head": head_entry(spec.fit.head), "views": views, "repeats": repeats, "compare": spec.fit.compare}
        expected |= {"space": spec.fit.space or "", "kinds": spec.fit.kinds} if further else {}
        expected["fusions"] = {side: view.model_dump(mode="json") for side, view in spec.fit.fusions.items()}
        fit = spec.fit
        self._again = f"dvc repro {train_stage(name, fit.compare, bool(fit.fusions), fit.space is not None)}"
        if recorded != expected:
            raise ModelError(
                f"{MODELS / name} was fitted with {recorded}; params.yaml says {expected}. Fit it again with: "
                f"{self._again}"
            )
        self._places = {modality: (self.config, side) for modality, side in self.config.modalities.items()}
        if self.config.space:
            space = HeadConfig.read(MODELS / name / SPACE_FOLDER)
            self._places |= {
                modality: (space, side) for modality, side in space.modalities.items() if modality not in self._places
            }
        self._stores: dict[tuple[str, str, str], RowsById] = {}
        self._heads: dict[int, ProjectionHeads] = {}
        self._caches: dict[tuple[int, Path], _VectorCache] = {}

    def heads(self, repeat: int) -> ProjectionHeads:
        """The heads of one repeat, loaded once."""
        if repeat not in self._heads:
            self._heads[repeat] = ProjectionHeads.from_folder(MODELS / self.name, repeat, self._device)
        return self._heads[repeat]

    def logit_scale(self, repeat: int) -> float:
        """What cosines are multiplied by before a softmax."""
        return self.heads(repeat).logit_scale

    def has_image(self, dataset: str, ids: SomeIds) -> np.ndarray:
        """Which images could be encoded, (n,) bool; errors as `RowsById.servable`."""
        return self._store("pairs", "image", dataset).servable(ids)

    def has_text(self, group: str, dataset: str, ids: SomeIds) -> np.ndarray:
        """Which texts could be encoded, (n,) bool; errors as `RowsById.servable`."""
        return self._store(group, "text", dataset).servable(ids)

    def holds_text(self, group: str, dataset: str, ids: SomeIds) -> np.ndarray:
        """Which texts the store has a row for, (n,) bool; it has none for languages that its view leaves out."""
        return self._store(group, "text", dataset).holds(ids)

    def image_vectors(self, repeat: int, dataset: str, ids: SomeIds) -> np.ndarray:
        """Unit vectors (n, K) float32 of images, each computed once per repeat.

        Raises:
            FingerprintMismatch: the store holds other features than those trained on.
            MissingRows: an id is absent or could not be encoded.
        """
        store = self._store("pairs", "image", dataset)
        return self._vectors(repeat, store, ids, embed_stored_images)

    def takes(self, *modalities: str) -> bool:
        """Whether its space has all of these modalities."""
        return all(modality in self._places for modality in modalities)

    def has(self, modality: str, dataset: str, ids: SomeIds, group: str = "pairs") -> np.ndarray:
        """Which samples have features, (n,) bool: false for those that could not be encoded.

        A store of texts lacks the languages that its view leaves out; other samples must all be there.
        """
        config, side = self._places[modality]
        store = self._store(group, side, dataset, config)
        if modality != "text":
            return store.servable(ids)
        held = store.holds(ids)
        held[held] = store.servable(np.asarray(ids, dtype=str)[held])
        return held

    def vectors(self, repeat: int, modality: str, dataset: str, ids: SomeIds, group: str = "pairs") -> np.ndarray:
        """Unit vectors (n, K) float32 of samples of a modality of its space; errors as `image_vectors`."""
        config, side = self._places[modality]
        embed = embed_stored_images if side == "image" else embed_stored_texts
        return self._vectors(repeat, self._store(group, side, dataset, config), ids, embed, config is not self.config)

    def text_features(self, group: str, dataset: str, ids: SomeIds) -> np.ndarray:
        """Frozen sentence embeddings (n, D) of stored texts, before any head; errors as `image_vectors`."""
        features: np.ndarray = self._store(group, "text", dataset).read("pooled", ids)
        return features

    def text_vectors(self, repeat: int, group: str, dataset: str, ids: SomeIds) -> np.ndarray:
        """Unit vectors (n, K) float32 of texts, each computed once per repeat; errors as `image_vectors`."""
        return self._vectors(repeat, self._store(group, "text", dataset), ids, embed_stored_texts)

    def class_vectors(
        self, repeat: int, group: str, dataset: str, classes: Sequence[Sequence[str]], kind: str
    ) -> np.ndarray:
        """One vector per class, (C, K) float32, from the ids of its stored texts; `kind` and errors as `classifier`."""
        return classifier(classes, lambda ids: self.text_vectors(repeat, group, dataset, np.array(ids)), kind)

    def _vectors(
        self,
        repeat: int,
        store: RowsById,
        ids: SomeIds,
        embed: Callable[[ProjectionHeads, RowsById, SomeIds], np.ndarray],
        of_space: bool = False,
    ) -> np.ndarray:
        key = (repeat, store.folder)
        if key not in self._caches:
            self._caches[key] = _VectorCache(store, self.config.embed_dim)
        heads = self.heads(repeat)
        if of_space:
            assert heads.space is not None
            heads = heads.space
        return self._caches[key].of(ids, partial(embed, heads, store))

    def _store(self, group: str, side: str, dataset: str, config: HeadConfig | None = None) -> RowsById:
        config = config or self.config
        view = config.views[side]
        key = (group, view, dataset)
        if key not in self._stores:
            store = open_side(view, tuple(config.members(side)), [dataset], group)[dataset]
            if store.digest != (fitted_to := str(config.fingerprints[side]["digest"])):
                raise FingerprintMismatch(
                    f"Aligner {self.name!r} was fitted to features {fitted_to[:12]} of view {view!r}; "
                    f"{store_folder(*key)} holds {store.digest[:12]}. Bring all stores of the view and the heads "
                    f"up to date with: {self._again}"
                )
            self._stores[key] = store
        return self._stores[key]


class _VectorCache:
    """The vectors of the rows of a store that have been asked for so far."""

    def __init__(self, store: RowsById, width: int) -> None:
        self._store = store
        self._rows = np.empty(0, dtype=np.int64)  # those of the store whose vectors are here, sorted
        self._place = np.empty(0, dtype=np.int64)  # where each vector is
        self._vectors = np.empty((0, width), dtype=np.float32)

    def of(self, ids: SomeIds, embed: Callable[[Ids], np.ndarray]) -> np.ndarray:
        """Vectors (n, K) of `ids`; `embed` is called with the ids that are new."""
        rows = self._store.rows(ids)
        new = np.setdiff1d(rows, self._rows)
        if new.size:
            every = np.concatenate([self._rows, new])
            places = np.concatenate([self._place, len(self._vectors) + np.arange(new.size)])
            order = np.argsort(every)
            self._rows, self._place = every[order], places[order]
            self._vectors = np.concatenate([self._vectors, embed(self._store.row_ids[new])])
        vectors: np.ndarray = self._vectors[self._place[np.searchsorted(self._rows, rows)]]
        return vectors
