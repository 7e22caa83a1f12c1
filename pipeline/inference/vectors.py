"""From features to the shared space: those just made, and those of a store."""

from collections.abc import Mapping

import numpy as np

from pipeline.alignment import ProjectionHeads
from pipeline.alignment.data.views import last_layers, read_images
from pipeline.alignment.stored import embed_stored_texts
from pipeline.features import FeatureStore


def image_vectors(heads: ProjectionHeads, features: Mapping[str, np.ndarray]) -> np.ndarray:
    """Unit vectors (n, K) float32 of images, from features as a store of the aligner's image view keeps them."""
    kind, layers = heads.config.local_tokens, heads.config.layers
    cls = np.ascontiguousarray(last_layers(features["cls"], layers))
    if kind == "none":
        return heads.embed_image(cls, cls[:, None][:, :0])
    local = last_layers(features["mean"], layers)[:, None] if kind == "mean" else features[kind]
    return heads.embed_image(cls, np.ascontiguousarray(local))


def stored_image_vectors(heads: ProjectionHeads, store: FeatureStore, ids: np.ndarray) -> np.ndarray:
    """The same for rows of a store; errors as `read_images`."""
    images = read_images(store, ids, heads.config.local_tokens, heads.config.layers)
    return heads.embed_image(images.cls.numpy(), images.local.numpy())


def stored_text_vectors(heads: ProjectionHeads, store: FeatureStore, ids: np.ndarray) -> np.ndarray:
    """Unit vectors (n, K) float32 of the texts of a store; errors as `embed_stored_texts`."""
    return embed_stored_texts(heads, store, ids)
