"""Reading what a head needs from the feature stores of a view."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.errors import DataError
from pipeline.features.by_id import RowsById, SomeIds

POOLED = ("pooled", "cls")  # a vector of each sample: of texts, and of pictures and sounds


def read_images(store: RowsById, ids: SomeIds, local_tokens: str, layers: int = 1) -> ImageInput:
    """Features of images in the dtype of the store.

    Args:
        local_tokens: "grid", "patch", "mean" (the mean patch token, as a single token) or "none" (no token at all).
        layers: how many of the last kept layers of "cls" and "mean" are joined.

    Raises:
        DataError: the store does not hold those tokens.
        MissingRows: an id is absent or not valid.
    """
    if local_tokens != "none":
        require_tokens(store, local_tokens)
    return image_input(lambda array: store.read(array, ids), local_tokens, layers)


def image_input(read: Callable[[str], np.ndarray], local_tokens: str, layers: int = 1) -> ImageInput:
    """What a head takes of images, from arrays as a store of their view serves them.

    Args:
        read: name of an array -> its rows, one per image.
        local_tokens, layers: as for `read_images`.
    """
    cls = _joined(read("cls"), layers)
    if local_tokens == "none":
        return ImageInput(cls, cls[:, None, :][:, :0])
    if local_tokens == "mean":
        return ImageInput(cls, _joined(read("mean"), layers)[:, None, :])
    return ImageInput(cls, torch.from_numpy(read(local_tokens)))


def require_tokens(store: RowsById, local_tokens: str) -> None:
    """Check that the store keeps the local tokens that an aligner takes.

    Raises:
        DataError: it does not.
    """
    if not {"mean", "grid", "patch"}.intersection(store.names):
        raise DataError(
            f"{store.folder} holds one vector per sample ({', '.join(store.names)}), as a dual encoder gives it; heads "
            "other than identity take local tokens as well. For a CLIP of transformers, `pooling: cls` keeps them."
        )
    if local_tokens not in store.names:
        raise DataError(
            f"local_tokens: {local_tokens} needs the array {local_tokens!r}; the store holds "
            f"{', '.join(store.names)}. Choose local_tokens: mean for the head, or the tier of its view that keeps "
            "them: grid keeps grid, full keeps patch."
        )


def pooled_name(store: RowsById) -> str:
    """The array with a vector for each sample on the side of texts, where sounds may stand as well."""
    return next((name for name in POOLED if name in store.names), POOLED[0])


def read_texts(store: RowsById, ids: SomeIds, text_tokens: str = "pooled") -> TextInput:
    """Features of texts, or of sounds on their side, in the dtype of the store.

    Args:
        text_tokens: "pooled", sentence embeddings as texts of one token, or "full", every token.

    Raises:
        MissingRows: an id is absent or not valid.
        StoreError: the store keeps no tokens.
    """
    if text_tokens == "full":
        tokens, mask = store.ragged("tokens").take_padded(store.rows(ids))
        return TextInput(torch.from_numpy(tokens), torch.from_numpy(mask))
    return TextInput.from_pooled(_joined(store.read(pooled_name(store), ids), 1))


def last_layers(array: np.ndarray, count: int) -> np.ndarray:
    """Of kept layers (n, L, D) the last `count` in a row, (n, count * D)."""
    return array[:, -count:].reshape(len(array), -1)


def _joined(array: np.ndarray, layers: int) -> Tensor:
    return torch.from_numpy(array if array.ndim == 2 else np.ascontiguousarray(last_layers(array, layers)))
