"""Composed scenes through a trained aligner: other views of the encoders that its heads were trained on."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from pipeline.alignment.dense.head import OTHER_IMAGES
from pipeline.alignment.vectors import embed_stored_embeddings, embed_stored_patches
from pipeline.errors import DataError
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.features import FeatureStore
from pipeline.features.by_id import SomeIds
from pipeline.features.fingerprint import require_same_encoder
from pipeline.features.visible import seen_share
from pipeline.paths import store_folder

GROUP = "scenes"
_OTHER_TEXTS = ("max_tokens", "truncations", "chunk_tokens", "templates")  # what a view of long texts may change


class DenseStore:
    """Pictures through a dense view of an aligner's image encoder.

    Attributes:
        patch_grid: (height, width) in patches; zeros where head identity has none.
        share: of the side of a picture that the encoder sees, in the centre.
    """

    def __init__(self, aligner: TrainedAligner, view: str, group: str, dataset: str) -> None:
        """Open the store.

        Raises:
            StoreError: it is missing or damaged.
            FingerprintMismatch: it holds features of another encoder than the heads were trained on.
            DataError: it has no patch tokens.
        """
        self._store = _open(aligner, store_folder(group, view, dataset), "image", OTHER_IMAGES)
        lacking = "patch" not in self._store.names or "patch_grid" not in self._store.attributes
        if lacking and aligner.config.local_tokens != "none":
            raise DataError(
                f"View {view!r} of aligner {aligner.name!r} holds {', '.join(self._store.names)}; scenes need every "
                "patch token. Set `tier: full` for the view in params.yaml and run: dvc repro"
            )
        height, width = self._store.attributes.get("patch_grid", (0, 0))
        self.patch_grid: tuple[int, int] = (int(height), int(width))
        self.share = seen_share(self._store.fingerprint)

    def servable(self, ids: SomeIds) -> np.ndarray:
        """Which rows could be encoded, (n,) bool; errors as `FeatureStore.servable`."""
        return self._store.servable(ids)

    def patches(self, ids: np.ndarray) -> np.ndarray:
        """Patch tokens (n, P, D) of rows, row-major."""
        patch: np.ndarray = self._store.read("patch", ids)
        return patch


class SceneImages(DenseStore):
    """Composed scenes through a view of an aligner: every patch token of the last kept layer.

    With head identity there are no patch tokens, and only whole scenes have vectors.
    """

    def __init__(self, aligner: TrainedAligner, view: str, scenes: str) -> None:
        """Open the store; errors as `DenseStore`."""
        super().__init__(aligner, view, GROUP, scenes)
        self._aligner = aligner
        self._chosen: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def chosen_patches(self, repeat: int, ids: np.ndarray, patches: np.ndarray) -> np.ndarray:
        """Tokens (n, D) of single patches; the last ones asked for in a repeat are kept.

        Args:
            ids: (N,) str, scenes.
            patches: (n,) int64, ascending: patches numbered through the scenes of `ids`, row-major within one.
        """
        last = self._chosen.get(repeat)
        if last is None or not np.array_equal(last[0], patches):  # labels of one data set ask for the same patches
            per_scene = self.patch_grid[0] * self.patch_grid[1]
            scenes = np.unique(patches // per_scene)
            tokens = self.patches(ids[scenes])
            rows = np.searchsorted(scenes, patches // per_scene)
            last = self._chosen[repeat] = (patches, tokens[rows, patches % per_scene])
        return last[1]

    def image_vectors(self, repeat: int, ids: np.ndarray) -> np.ndarray:
        """Unit vectors (n, K) float32 of whole scenes, through both projectors.

        Local tokens are of the kind that the heads were trained on: patches, their mean, or their means over the
        regions of the training view's grid.
        """
        return embed_stored_patches(self._aligner.heads(repeat), self._store, ids, self.patch_grid)


class LongTexts:
    """Long captions through the view `long_text` of an aligner.

    Attributes:
        truncations: ascending, T numbers of tokens, special tokens included.
        chunk_tokens: tokens of the pieces over which whole texts are pooled; None where the view has none.
    """

    def __init__(self, aligner: TrainedAligner, view: str, group: str, dataset: str) -> None:
        """Open the store; errors as for `SceneImages`."""
        self._aligner = aligner
        self._store = _open(aligner, store_folder(group, view, dataset), "text", _OTHER_TEXTS)
        self.truncations = tuple(int(limit) for limit in self._store.fingerprint["compared"].get("truncations", ()))
        chunk = self._store.fingerprint["compared"].get("chunk_tokens")
        self.chunk_tokens = None if chunk is None else int(chunk)
        if not self.truncations:
            raise DataError(
                f"View {view!r} of aligner {aligner.name!r} has no truncations; long_text needs some. "
                "Set `truncations` of the view in params.yaml and run: dvc repro"
            )

    def servable(self, ids: SomeIds) -> np.ndarray:
        """Which texts could be encoded, (n,) bool; errors as `FeatureStore.servable`."""
        return self._store.servable(ids)

    def text_vectors(self, repeat: int, ids: np.ndarray) -> np.ndarray:
        """Unit vectors (n, T, K) float32 of texts, cut at each truncation."""
        return embed_stored_embeddings(self._aligner.heads(repeat), self._store, ids, "truncated")

    def chunked_vectors(self, repeat: int, ids: np.ndarray) -> np.ndarray:
        """Unit vectors (n, K) float32 of whole texts, pooled over their pieces before the heads."""
        return embed_stored_embeddings(self._aligner.heads(repeat), self._store, ids, "chunked")


def _open(aligner: TrainedAligner, folder: Path, side: str, but_for: Collection[str]) -> FeatureStore:
    store = FeatureStore.open(folder)
    what = f"{folder}, which aligner {aligner.name!r} is to be evaluated on,"
    require_same_encoder(store.fingerprint, aligner.config.fingerprints[side], what, but_for)
    return store
