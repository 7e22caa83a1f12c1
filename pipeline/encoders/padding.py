"""Texts of families whose padding enters the features: without a mask over it (FNet), or with convolutions (ConvBERT).

That shows on a text that is encoded beside a longer one. Such texts are run in groups of one length, with no padding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

_SHORT, _LONG = "a kite", "a red kite over the sea, " * 4
_EXACT, _ROUNDED = 5e-3, 0.1  # differences of the order of sums, relative to the largest value, by far
Group = tuple[torch.Tensor, dict[str, Any]]  # rows of a batch (b,), and their inputs without padding


def padding_enters(encode: Callable[[list[str]], torch.Tensor], rounded: bool) -> bool:
    """Whether a text gets other features beside a longer one.

    Args:
        encode: texts -> (B, D).
        rounded: it computes in 16 bits.
    """
    alone, beside = encode([_SHORT])[0], encode([_SHORT, _LONG])[0]
    most = (_ROUNDED if rounded else _EXACT) * float(alone.abs().max())
    return float((alone - beside).abs().max()) > most


def same_length(inputs: Mapping[str, Any]) -> Iterator[Group]:
    """The texts of a padded batch by their number of tokens; tensors (B, T) lose their padding, on either side."""
    mask = inputs["attention_mask"]
    lengths = mask.sum(dim=1)
    left = bool((mask[:, -1] > mask[:, 0]).any())
    for length in lengths.unique().tolist():
        rows = torch.nonzero(lengths == length).flatten()
        kept = slice(mask.shape[1] - length, None) if left else slice(length)
        yield (
            rows,
            {
                key: value[rows, kept] if isinstance(value, torch.Tensor) and value.shape == mask.shape else value
                for key, value in inputs.items()
            },
        )


def joined(parts: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Rows and their values (b, D) or (b, T, D), of texts or of tokens -> (B, D) or (B, T, D), padded with zeros."""
    count, first = sum(len(rows) for rows, _ in parts), parts[0][1]
    longest = [max(values.shape[1] for _, values in parts)] if first.ndim == 3 else []
    out = first.new_zeros(count, *longest, first.shape[-1])
    for rows, values in parts:
        if first.ndim == 3:
            out[rows, : values.shape[1]] = values
        else:
            out[rows] = values
    return out
