"""Features at one byte per value: int8 codes with one float32 scale per token.

Symmetric: the largest magnitude of a token is code 127, so that a value is off by at most half a scale, 1/254 of
that magnitude. What is served is float16, as if it had been stored so. An array `cls` is two arrays on disk, `cls` with
the codes and `cls_scale` with their scales; a token of a sample that failed has scale NaN.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.features.array import FeatureArray
from pipeline.features.identity import row_positions, row_range
from pipeline.features.layout import ArraySpec
from pipeline.features.memory import output
from pipeline.features.objects.array import RemoteArray
from pipeline.features.ragged import LENGTH
from pipeline.features.shards import SCALE, fit, length_spec

_MAX_CODE = 127
_PIECE = 1 << 18  # values served together, so that they stay in the processor's cache


def stored_specs(specs: Iterable[ArraySpec]) -> list[ArraySpec]:
    """The arrays on disk for the arrays of an encoder: int8 arrays also have scales, ragged ones token counts."""
    stored = []
    for spec in specs:
        stored.append(spec)
        if spec.dtype == "int8":
            stored.append(ArraySpec(spec.name + SCALE, spec.row_shape[:-1], "float32", spec.most))
        if spec.ragged:
            stored.append(length_spec(spec))
    return stored


def stored_rows(
    arrays: Mapping[str, np.ndarray], specs: Iterable[ArraySpec], failed: np.ndarray
) -> dict[str, np.ndarray]:
    """Rows as they go to disk.

    Args:
        arrays: per array of `specs` (n, *row_shape), in any float dtype; of a ragged array `tokens` all tokens in
            order, and the number of each row (n,) as `tokens_length`.
        failed: (n,) bool; what these rows hold does not count.

    Returns:
        (n, *row_shape) per array of `stored_specs(specs)`; rows that failed have no tokens.

    Raises:
        StoreError: a value that counts does not fit the dtype, or is NaN; the message names the parameter to change.
    """
    rows = {}
    for spec in specs:
        values, without = arrays[spec.name], failed
        if spec.ragged:
            name = length_spec(spec).name
            lengths = np.asarray(arrays[name])
            values, without = values[np.repeat(~failed, lengths)], np.zeros(int(lengths[~failed].sum()), dtype=bool)
            rows[name] = np.where(failed, 0, lengths).astype(np.int32)
        if spec.dtype == "int8":
            rows[spec.name], rows[spec.name + SCALE] = _quantise(values, spec, without)
        else:
            rows[spec.name] = fit(values, spec, without)
    return rows


def served_rows(arrays: Mapping[str, np.ndarray], specs: Iterable[ArraySpec]) -> dict[str, np.ndarray]:
    """Rows as a store of these arrays would serve them: (n, *row_shape) each; arguments and errors as `stored_rows`."""
    specs = list(specs)
    rows = next(len(arrays[(length_spec(spec) if spec.ragged else spec).name]) for spec in specs)
    stored = stored_rows(arrays, specs, np.zeros(rows, dtype=bool))
    served = {}
    for spec in specs:
        if spec.ragged:
            served[length_spec(spec).name] = stored[length_spec(spec).name]
        served[spec.name] = stored[spec.name]
        if spec.dtype == "int8":
            served[spec.name] = np.empty(stored[spec.name].shape, np.float16)
            _multiply(stored[spec.name], stored[spec.name + SCALE], served[spec.name])
    return served


def served_names(stored: Sequence[str]) -> tuple[str, ...]:
    """The arrays on disk that are served: all but scales and token counts."""
    helpers = {name + suffix for name in stored for suffix in (SCALE, LENGTH)}
    return tuple(name for name in stored if name not in helpers)


def _quantise(values: np.ndarray, spec: ArraySpec, failed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    fit(values, replace(spec, dtype="float16"), failed)  # rejects what could not be served
    kept = np.array(values, dtype=np.float32)
    kept[failed] = 0
    scales = np.abs(kept).max(axis=-1) / np.float32(_MAX_CODE)
    codes = np.rint(kept / np.where(scales == 0, 1, scales)[..., None]).astype(np.int8)
    scales[failed] = np.nan
    return codes, scales


class QuantisedArray:
    """An int8 array of a store, served as float16: codes times the scale of their token.

    Attributes:
        shape: (N, *row_shape).
        dtype: float16.
        stored_dtype: int8.
        mapped: whether reads go straight to the shard files.

    Raises:
        StoreError: there are not as many scales as tokens.
    """

    def __init__(self, codes: FeatureArray | RemoteArray, scales: FeatureArray | RemoteArray) -> None:
        if scales.shape != codes.shape[:-1]:
            raise StoreError(
                f"int8 features of shape {codes.shape} need scales of shape {codes.shape[:-1]}, found {scales.shape}. "
                "Repair the store with: python -m pipeline.store repair"
            )
        self._codes, self._scales = codes, scales
        self.shape = codes.shape
        self.dtype: np.dtype[Any] = np.dtype(np.float16)
        self.stored_dtype: np.dtype[Any] = codes.dtype
        self.mapped = codes.mapped
        self._piece = max(1, _PIECE // max(1, int(np.prod(self.shape[1:], dtype=np.int64))))

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Copy of the given rows (n, *row_shape) float16; arguments and errors as `FeatureArray.take`."""
        rows = row_positions(rows, self.shape[0], "An int8 array")
        out = output(out, (len(rows), *self.shape[1:]), self.dtype)
        for start in range(0, len(rows), self._piece):
            part = rows[start : start + self._piece]
            _multiply(self._codes.take(part), self._scales.take(part), out[start : start + len(part)])
        return out

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """Rows `start` to `stop` - 1 as float16; arguments and errors as `FeatureArray.read_range`."""
        start, stop = row_range(start, stop, self.shape[0], "An int8 array")
        out = output(out, (stop - start, *self.shape[1:]), self.dtype)
        for first in range(start, stop, self._piece):
            last = min(first + self._piece, stop)
            _multiply(
                self._codes.read_range(first, last),
                self._scales.read_range(first, last),
                out[first - start : last - start],
            )
        return out


def _multiply(codes: np.ndarray, scales: np.ndarray, out: np.ndarray) -> None:
    out[...] = np.multiply(codes, scales[..., None], dtype=np.float32)
