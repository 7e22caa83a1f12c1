"""Arrays of a varying number of tokens per sample, without padding.

Shards are files of a fixed number of samples, written once and shared by hard links, so the number of tokens in each
differs. A Zarr array has shards of one shape; hence one array per shard, (T_s, *token_shape), in a group of that name:
`tokens/0`, `tokens/1`, ... Beside it lies `tokens_length` (M,) int32, an ordinary array, from which offsets follow.
"""

from collections.abc import Sequence

import numpy as np

from pipeline.features.identity import row_positions
from pipeline.features.span import Rows, Span

LENGTH = "_length"


def token_positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Positions (sum of lengths,) int64 of all tokens of samples, in order.

    Args:
        starts: (n,) int64, where the tokens of each sample begin.
        lengths: (n,) int64.
    """
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    positions: np.ndarray = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return positions


def padded(values: np.ndarray, lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of n samples (n, width, *token_shape), zeros after the last, and which are real, (n, width) bool.

    Args:
        values: (sum of lengths, *token_shape).
        lengths: (n,) int64, none above `width`.
    """
    mask = np.arange(width) < lengths[:, None]
    out = np.zeros((*mask.shape, *values.shape[1:]), values.dtype)
    out[mask] = values
    return out, mask


class RaggedArray:
    """Tokens of a store, a varying number per sample.

    Attributes:
        lengths: (M,) int64, tokens of each sample; 0 where it could not be encoded.
        offsets: (M + 1,) int64; the tokens of sample i are those from `offsets[i]` to `offsets[i + 1]`.
        token_shape: shape of one token.
        dtype: of the tokens served.
    """

    def __init__(self, lengths: np.ndarray, shards: Sequence[Rows]) -> None:
        """Take the tokens of each shard in order."""
        self.lengths: np.ndarray = lengths.astype(np.int64)
        self.offsets: np.ndarray = np.concatenate([[0], np.cumsum(self.lengths)])
        self._tokens = Span(shards)
        self.token_shape: tuple[int, ...] = self._tokens.shape[1:]
        self.dtype = self._tokens.dtype

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of the given samples one after another, (T', *token_shape), and their offsets (n + 1,) int64.

        Args:
            rows: int64 positions of samples, in any order, repeats allowed.
        """
        rows = row_positions(rows, len(self), "An array of tokens")
        lengths = self.lengths[rows]
        values = self._tokens.take(token_positions(self.offsets[rows], lengths))
        return values, np.concatenate([[0], np.cumsum(lengths)])

    def take_padded(self, rows: np.ndarray, width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Tokens of the given samples (n, W, *token_shape) with zeros after the last, and which are real (n, W) bool.

        Args:
            width: W; the longest of them if None.
        """
        values, offsets = self.take(rows)
        lengths = np.diff(offsets)
        return padded(values, lengths, int(lengths.max(initial=1)) if width is None else width)
