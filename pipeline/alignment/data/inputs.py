"""What a head receives: the frozen features of images and of texts, as tensors.

Shapes: B rows, T tokens, D the width of the encoder. Features stay in the dtype of the store; the head converts.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageInput:
    """Features of images.

    Attributes:
        cls: (B, D), the CLS token or the encoder's own pooled output.
        local: (B, T, D), region means, patch tokens, or one mean as a single token.
    """

    cls: Tensor
    local: Tensor

    def __len__(self) -> int:
        return len(self.cls)

    def take(self, rows: Tensor) -> "ImageInput":
        """The given rows, (n,) int64, in that order."""
        return ImageInput(self.cls[rows], self.local[rows])

    def to(self, device: torch.device, non_blocking: bool = False) -> "ImageInput":
        """The same features on `device`; `non_blocking` lets it fetch pinned memory while the host goes on."""
        return ImageInput(
            self.cls.to(device, non_blocking=non_blocking), self.local.to(device, non_blocking=non_blocking)
        )


@dataclass(frozen=True)
class TextInput:
    """Features of texts.

    Attributes:
        tokens: (B, T, D).
        mask: (B, T), true where a token counts; None when all do. Every text has at least one token that counts.
    """

    tokens: Tensor
    mask: Tensor | None = None

    @classmethod
    def from_pooled(cls, pooled: Tensor) -> "TextInput":
        """Sentence embeddings (B, D) as texts of one token."""
        return cls(pooled[:, None, :])

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, rows: Tensor) -> "TextInput":
        """The given rows, (n,) int64, in that order."""
        return TextInput(self.tokens[rows], None if self.mask is None else self.mask[rows])

    def to(self, device: torch.device, non_blocking: bool = False) -> "TextInput":
        """The same features on `device`; `non_blocking` lets it fetch pinned memory while the host goes on."""
        return TextInput(
            self.tokens.to(device, non_blocking=non_blocking),
            None if self.mask is None else self.mask.to(device, non_blocking=non_blocking),
        )
