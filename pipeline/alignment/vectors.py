"""From frozen features to the shared space: images and texts, of a store or just made."""

from collections.abc import Mapping

import numpy as np

from pipeline.alignment.data.inputs import ImageInput
from pipeline.alignment.data.views import image_input, read_images, read_texts
from pipeline.alignment.saved import ProjectionHeads
from pipeline.encoding.regions import region_means
from pipeline.features.by_id import RowsById, SomeIds

_ROWS = 4096  # tokens are padded, so not all texts at once


def embed_images(heads: ProjectionHeads, features: Mapping[str, np.ndarray]) -> np.ndarray:
    """Unit vectors (n, K) float32 of images, from arrays as a store of the aligner's image view serves them."""
    return _embed(heads, image_input(features.__getitem__, heads.config.local_tokens, heads.config.layers))


def embed_stored_images(heads: ProjectionHeads, store: RowsById, ids: SomeIds) -> np.ndarray:
    """Unit vectors (n, K) float32 of the images of a store; errors as `read_images`."""
    return _embed(heads, read_images(store, ids, heads.config.local_tokens, heads.config.layers))


def embed_stored_patches(
    heads: ProjectionHeads, store: RowsById, ids: SomeIds, patch_grid: tuple[int, int]
) -> np.ndarray:
    """As `embed_stored_images`, from a store of another view, which keeps every patch token.

    Heads that were trained on a grid of regions get the means of the patches over that grid.

    Args:
        patch_grid: rows and columns of patches.
    """
    config = heads.config
    if config.local_tokens != "grid":
        return embed_stored_images(heads, store, ids)
    images = read_images(store, ids, "patch", config.layers)
    grid = int(config.fingerprints["image"]["compared"]["grid"])
    return _embed(heads, ImageInput(images.cls, region_means(images.local.float(), patch_grid, grid)))


def embed_stored_texts(heads: ProjectionHeads, store: RowsById, ids: SomeIds) -> np.ndarray:
    """Unit vectors (n, K) float32 of the texts of a store, by the kind of features that the heads take.

    Raises:
        MissingRows, StoreError: as `read_texts`.
    """
    parts = [
        heads.embed_text(read_texts(store, ids[start : start + _ROWS], heads.config.text_tokens))
        for start in range(0, len(ids), _ROWS)
    ]
    return np.concatenate([np.empty((0, heads.config.embed_dim), np.float32), *parts])


def embed_stored_embeddings(heads: ProjectionHeads, store: RowsById, ids: SomeIds, array: str) -> np.ndarray:
    """Unit vectors (n, ..., K) float32 of sentence embeddings (n, ..., D) that a store keeps in `array`.

    Raises:
        MissingRows, StoreError: as `RowsById.read`.
    """
    embeddings = store.read(array, ids)
    vectors = heads.embed_text(embeddings.reshape(-1, embeddings.shape[-1]))
    return vectors.reshape(*embeddings.shape[:-1], vectors.shape[-1])


def _embed(heads: ProjectionHeads, images: ImageInput) -> np.ndarray:
    return heads.embed_image(images.cls.numpy(), images.local.numpy())
