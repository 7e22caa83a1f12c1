"""Vectors of the shared space for a trained aligner, made from the very features it was trained on."""

import numpy as np
import torch

from pipeline.alignment.model import HeadConfig, ProjectionHeads
from pipeline.alignment.views import digest_of, read_images, servable
from pipeline.config.schema import AlignerSpec
from pipeline.errors import FingerprintMismatch, ModelError
from pipeline.features import FeatureStore
from pipeline.paths import MODELS, store_folder


class TrainedAligner:
    """The heads of an aligner beside the feature stores of its views.

    Attributes:
        name: as in params.yaml.
        spec: its entry there.
        config: what was recorded at training.
    """

    def __init__(self, name: str, spec: AlignerSpec, repeats: int, device: torch.device) -> None:
        """Read the saved config and check that it is of these parameters.

        Raises:
            ModelError: the aligner is missing, or was trained with other views, tokens or repeats.
        """
        self.name, self.spec, self._device = name, spec, device
        self.config = HeadConfig.read(MODELS / name)
        found = (self.config.image_view, self.config.text_view, self.config.local_tokens, self.config.repeats)
        expected = (spec.image, spec.text, spec.local_tokens, repeats)
        if found != expected:
            raise ModelError(
                f"{MODELS / name} was trained with image view, text view, local tokens and repeats {found}; "
                f"params.yaml says {expected}. Train it again with: dvc repro train@{name}"
            )
        self._stores: dict[tuple[str, str, str], FeatureStore] = {}

    def heads(self, repeat: int) -> ProjectionHeads:
        """The heads of one repeat."""
        return ProjectionHeads.from_folder(MODELS / self.name, repeat, self._device)

    def has_image(self, dataset: str, ids: np.ndarray) -> np.ndarray:
        """Which images could be encoded, (n,) bool; errors as `servable`."""
        store = self._store("pairs", self.spec.image, dataset)
        return servable(store, ids, f"{dataset} through view {self.spec.image}")

    def has_text(self, group: str, dataset: str, ids: np.ndarray) -> np.ndarray:
        """Which texts could be encoded, (n,) bool; errors as `servable`."""
        store = self._store(group, self.spec.text, dataset)
        return servable(store, ids, f"{dataset} through view {self.spec.text}")

    def image_vectors(self, heads: ProjectionHeads, dataset: str, ids: np.ndarray) -> np.ndarray:
        """Unit vectors (n, K) float32 of images.

        Raises:
            FingerprintMismatch: the store holds other features than those trained on.
            MissingRows: an id is absent or could not be encoded.
        """
        images = read_images(self._store("pairs", self.spec.image, dataset), ids, self.config.local_tokens)
        return heads.embed_image(images.cls.numpy(), images.local.numpy())

    def text_vectors(self, heads: ProjectionHeads, group: str, dataset: str, ids: np.ndarray) -> np.ndarray:
        """Unit vectors (n, K) float32 of texts; errors as `image_vectors`."""
        return heads.embed_text(self._store(group, self.spec.text, dataset).read("pooled", ids))

    def _store(self, group: str, view: str, dataset: str) -> FeatureStore:
        key = (group, view, dataset)
        if key not in self._stores:
            store = FeatureStore.open(store_folder(*key))
            if digest_of(store) != (trained_on := self.config.fingerprints[view]):
                raise FingerprintMismatch(
                    f"Aligner {self.name!r} was trained on features {trained_on[:12]} of view {view!r}; "
                    f"{store_folder(*key)} holds {digest_of(store)[:12]}. Bring all stores of the view and the heads "
                    f"up to date with: dvc repro train@{self.name}"
                )
            self._stores[key] = store
        return self._stores[key]
