"""What the encode loop requires of an encoder; imports no model, so that a fully cached run starts fast."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from pipeline.features import ArraySpec


@dataclass
class Batch:
    """Rows of one forward pass.

    Attributes:
        positions: where each row belongs among the requested ids.
        arrays: per array (n, *row_shape) float32; of a ragged array `tokens` all tokens of the rows in order, and as
            `tokens_length` (n,) int64 how many each row has.
        reasons: per row, why it has no features, or None.
    """

    positions: list[int]
    arrays: Mapping[str, np.ndarray]
    reasons: list[str | None] = field(default_factory=list)


class RowEncoder(Protocol):
    """Turns ids into rows of known arrays."""

    specs: tuple[ArraySpec, ...]
    notes: dict[str, object]

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """Yield every position of `ids` exactly once, in batches in any order."""
        ...


@runtime_checkable
class RaggedRowEncoder(RowEncoder, Protocol):
    """A `RowEncoder` with a ragged array."""

    def tokens(self, ids: Sequence[str]) -> list[int]:
        """How many tokens each sample has, known without a forward pass."""
        ...


@runtime_checkable
class PrefetchingRowEncoder(RowEncoder, Protocol):
    """A `RowEncoder` that starts on rows before they are requested."""

    def prefetch(self, later: Iterable[Sequence[str]]) -> None:
        """Announce the ids that will follow those of the next `encode`, one sequence per call; iterated once."""
        ...
