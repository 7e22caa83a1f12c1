"""The arrays of feature stores that a head takes, by position: what every loading mode reads from."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

import numpy as np

from pipeline.alignment.data.inputs import ImageInput, Input, TextInput
from pipeline.alignment.data.views import last_layers, pooled_name, require_tokens
from pipeline.errors import StoreError
from pipeline.features.by_id import RowsById
from pipeline.features.memory import output
from pipeline.features.ragged import RaggedArray
from pipeline.features.span import Rows, Span, row_bytes

_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Columns(Generic[Input]):
    """The arrays of one side, row by row the same samples.

    Attributes:
        kind: the input of a head that they make up.
        arrays: as `kind.from_arrays` takes them, of all stores in turn.
    """

    kind: type[Input]
    arrays: tuple[Span, ...]

    @property
    def width(self) -> int:
        """Of the features."""
        return self.arrays[0].shape[-1]

    @property
    def row_bytes(self) -> int:
        """Size of one row in bytes, over all arrays."""
        return sum(map(row_bytes, self.arrays))

    def inputs(self, arrays: Sequence[np.ndarray]) -> Input:
        """Rows of each of the arrays as the input of a head; shares their memory."""
        return self.kind.from_arrays(arrays)

    def take(self, rows: np.ndarray) -> Input:
        """The given rows, (n,) int64, in host memory."""
        return self.inputs([array.take(rows) for array in self.arrays])


class LastLayers:
    """The last `count` of several kept layers: of rows (L, D), rows (count * D,)."""

    def __init__(self, layers: Rows, count: int = 1) -> None:
        if count > layers.shape[1]:
            raise StoreError(
                f"The aligner asks for {count} layers, its first view keeps {layers.shape[1]}: lower `layers` of the "
                "aligner, or keep more `layers` of the encoder in params.yaml"
            )
        self._layers, self._count = layers, count
        self.shape: tuple[int, ...] = (layers.shape[0], count * layers.shape[2])
        self.dtype: np.dtype[Any] = layers.dtype
        self._piece = max(1, _PIECE_BYTES // max(1, row_bytes(layers)))  # all layers are read, so a piece at a time

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The given rows (n, D), written into `out` where it is given."""
        out = output(out, (len(rows), *self.shape[1:]), self.dtype)
        for start in range(0, len(rows), self._piece):
            part = slice(start, start + self._piece)
            out[part] = last_layers(self._layers.take(rows[part]), self._count)
        return out

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1, written into `out` where it is given."""
        out = output(out, (stop - start, *self.shape[1:]), self.dtype)
        for first in range(start, stop, self._piece):
            last = min(stop, first + self._piece)
            out[first - start : last - start] = last_layers(self._layers.read_range(first, last), self._count)
        return out


class CropRows:
    """One of several crops: of rows (C, ...), rows (...) of crop `number`."""

    def __init__(self, crops: Rows, number: int) -> None:
        self._crops, self._number = crops, number
        self.shape: tuple[int, ...] = (crops.shape[0], *crops.shape[2:])
        self.dtype: np.dtype[Any] = crops.dtype

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The given rows, written into `out` where it is given."""
        return _into(out, self._crops.take(rows)[:, self._number])

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1, written into `out` where it is given."""
        return _into(out, self._crops.read_range(start, stop)[:, self._number])


def image_columns(
    stores: Sequence[RowsById], local_tokens: str, layers: int = 1, crops: int = 0
) -> Columns[ImageInput]:
    """CLS token (N, D) and local tokens, (N, T, D) or (N, D) for "mean", of the images of all stores in turn.

    Args:
        local_tokens: "grid", "patch", "mean" (the mean patch token), or "none": then there is the CLS token alone.
        layers: how many of the last kept layers of "cls" and "mean" are joined; rows are that many times as wide.
        crops: how many crops of each image follow as further images: first all images, then crop 0 of all, and so on.

    Raises:
        DataError: a store does not hold those tokens.
        StoreError: the stores differ in shape or dtype.
    """
    cls = _column(stores, "cls", layers, crops)
    if local_tokens == "none":
        return Columns(ImageInput, (cls,))
    for store in stores:
        require_tokens(store, local_tokens)
    local = _column(stores, local_tokens, layers if local_tokens == "mean" else None, crops)
    return Columns(ImageInput, (cls, local))


class PaddedTokens:
    """Tokens of texts, padded with zeros to one length: rows (W, D)."""

    def __init__(self, tokens: RaggedArray, width: int) -> None:
        self._tokens, self._width = tokens, width
        self.shape: tuple[int, ...] = (len(tokens), width, *tokens.token_shape)
        self.dtype: np.dtype[Any] = tokens.dtype

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The given rows (n, W, D), written into `out` where it is given."""
        values, _ = self._tokens.take_padded(rows, self._width)
        return _into(out, values)

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1, written into `out` where it is given."""
        return self.take(np.arange(start, stop), out)


class TokenMask:
    """Which tokens of `PaddedTokens` are real: rows (W,) bool."""

    def __init__(self, tokens: RaggedArray, width: int) -> None:
        self._lengths = tokens.lengths
        self.shape: tuple[int, ...] = (len(tokens), width)
        self.dtype: np.dtype[Any] = np.dtype(bool)

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """The given rows (n, W), written into `out` where it is given."""
        return _into(out, np.arange(self.shape[1]) < self._lengths[rows][:, None])

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1, written into `out` where it is given."""
        return self.take(np.arange(start, stop), out)


def text_columns(stores: Sequence[RowsById], text_tokens: str = "pooled") -> Columns[TextInput]:
    """The texts of all stores in turn: sentence embeddings (M, D), or tokens (M, W, D) and their mask (M, W).

    Of sounds on this side, the vector of each from the last kept layer, or its frames.

    Args:
        text_tokens: "pooled" or "full"; W is the length of the longest text of all stores.

    Raises:
        StoreError: the stores differ in shape or dtype, or keep no tokens.
    """
    if text_tokens == "pooled":
        return Columns(TextInput, (_column(stores, pooled_name(stores[0]), 1),))
    ragged = [store.ragged("tokens") for store in stores]
    width = max(int(tokens.lengths.max(initial=1)) for tokens in ragged)
    tokens, mask = (Span([kind(part, width) for part in ragged]) for kind in (PaddedTokens, TokenMask))
    return Columns(TextInput, (tokens, mask))


def _into(out: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    if out is None:
        return values
    out[...] = values
    return out


def _column(stores: Sequence[RowsById], name: str, layers: int | None = None, crops: int = 0) -> Span:
    """An array of all stores and of their crops; where several layers are kept, the last `layers`."""
    arrays: list[Rows] = [store.array(name) for store in stores]
    arrays += [CropRows(store.array(f"crop_{name}"), number) for number in range(crops) for store in stores]
    if layers is None or (layers == 1 and len(arrays[0].shape) == 2):
        return Span(arrays)
    return Span([LastLayers(array, layers) for array in arrays])
