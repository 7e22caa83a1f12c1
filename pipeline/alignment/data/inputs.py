"""What a head receives: the frozen features of images and of texts, as tensors.

Shapes: B rows, T tokens, D the width of the encoder. Features stay in the dtype of the store; the head converts.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import torch
from torch import Tensor

TensorFunction = Callable[[Tensor], Tensor]


class SideInput(ABC):
    """Features of one side, images or texts: several tensors with a row per sample."""

    @classmethod
    @abstractmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray]) -> Self:
        """From the arrays of a feature store; shares their memory."""

    @property
    @abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors in a fixed order; the first holds features."""

    @abstractmethod
    def map(self, function: TensorFunction) -> Self:
        """The same with `function` applied to every tensor, in the order of `tensors`."""

    def map_features(self, function: TensorFunction) -> Self:
        """As `map`, but only for features: masks are kept."""
        return self.map(lambda x: function(x) if x.is_floating_point() else x)

    @property
    def width(self) -> int:
        """D."""
        return self.tensors[0].shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.tensors[0].device

    def __len__(self) -> int:
        return len(self.tensors[0])

    def take(self, rows: Tensor) -> Self:
        """The given rows, (n,) int64, in that order."""
        return self.map(lambda x: x[rows])

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """The same on `device`; `non_blocking` lets pinned memory be copied in the background."""
        return self.map(lambda x: x.to(device, non_blocking=non_blocking))


Input = TypeVar("Input", bound=SideInput)


@dataclass(frozen=True)
class ImageInput(SideInput):
    """Features of images.

    Attributes:
        cls: (B, D), the CLS token or the encoder's own pooled output.
        local: (B, T, D), region means, patch tokens, or one mean as a single token.
    """

    cls: Tensor
    local: Tensor

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray]) -> Self:
        """From CLS tokens (B, D) and local tokens, (B, T, D) or (B, D); without the latter, T is 0."""
        pooled, *local = map(torch.from_numpy, arrays)
        return cls(pooled, _tokens(local[0]) if local else _tokens(pooled)[:, :0])

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """CLS and local tokens."""
        return self.cls, self.local

    def map(self, function: TensorFunction) -> Self:
        """See `SideInput`."""
        return type(self)(function(self.cls), function(self.local))


@dataclass(frozen=True)
class TextInput(SideInput):
    """Features of texts.

    Attributes:
        tokens: (B, T, D).
        mask: (B, T) bool, true where a token counts; None when all do. Every text has at least one token that counts.
    """

    tokens: Tensor
    mask: Tensor | None = None

    @classmethod
    def from_pooled(cls, pooled: Tensor) -> Self:
        """Sentence embeddings (B, D) as texts of one token."""
        return cls(_tokens(pooled))

    @classmethod
    def from_arrays(cls, arrays: Sequence[np.ndarray]) -> Self:
        """From sentence embeddings (B, D), or tokens (B, T, D) and their mask (B, T)."""
        tokens, *mask = map(torch.from_numpy, arrays)
        return cls(_tokens(tokens), *mask)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tokens, and their mask if any."""
        return (self.tokens,) if self.mask is None else (self.tokens, self.mask)

    def map(self, function: TensorFunction) -> Self:
        """See `SideInput`."""
        return type(self)(function(self.tokens), None if self.mask is None else function(self.mask))


def _tokens(x: Tensor) -> Tensor:
    """(B, T, D); a vector per row is a single token."""
    return x if x.ndim == 3 else x[:, None, :]
