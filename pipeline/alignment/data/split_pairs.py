"""The pairs of a split, repeat by repeat: a byte a pair and repeat, and whole rows of one repeat when asked for."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import DataError


class SplitPairs(Sequence[Tensor]):
    """One (p, 2) int64 tensor per repeat, made anew each time.

    Args:
        joined: (P, 2) int64, all pairs.
        mask: (P, R) bool, which of them each repeat has.
        name, split: of the aligner and of the split, for messages.

    Raises:
        DataError: a repeat has fewer than two pairs.
    """

    def __init__(self, joined: Tensor, mask: np.ndarray, name: str, split: str) -> None:
        self._joined, self._mask = joined, np.ascontiguousarray(mask.T)
        for repeat, of_repeat in enumerate(self._mask):
            if (count := int(np.count_nonzero(of_repeat))) < 2:
                raise DataError(
                    f"Aligner {name!r}: the {split} split of repeat {repeat} has {count} pairs; at least 2 are "
                    "needed. Change `splits` or the curation of the aligner in params.yaml, or add data."
                )

    def __len__(self) -> int:
        return len(self._mask)

    def __getitem__(self, repeat: Any) -> Any:
        """The pairs of a repeat, in the order of `joined`; of a slice, a tuple of them."""
        if isinstance(repeat, slice):
            return tuple(self[number] for number in range(len(self))[repeat])
        inside = np.flatnonzero(self._mask[repeat])
        return self._joined[torch.from_numpy(inside).to(self._joined.device)]
