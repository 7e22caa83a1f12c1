"""Texts of a store in the shared space."""

import numpy as np

from pipeline.alignment.data.views import read_texts
from pipeline.alignment.saved import ProjectionHeads
from pipeline.features import FeatureStore

_ROWS = 4096  # tokens are padded, so not all texts at once


def embed_stored_texts(heads: ProjectionHeads, store: FeatureStore, ids: np.ndarray) -> np.ndarray:
    """Unit vectors (n, K) float32 of the texts of a store, by the kind of features that the heads take.

    Raises:
        MissingRows, StoreError: as `read_texts`.
    """
    parts = [
        heads.embed_text(read_texts(store, ids[start : start + _ROWS], heads.config.text_tokens))
        for start in range(0, len(ids), _ROWS)
    ]
    return np.concatenate([np.empty((0, heads.config.embed_dim), np.float32), *parts])
