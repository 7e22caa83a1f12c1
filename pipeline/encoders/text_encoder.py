"""The interface of frozen text encoders: one vector per text, and one per token.

Shapes: B texts, T tokens, D features, H features of a token.
"""

from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True)
class TokenFeatures:
    """A batch of texts.

    Attributes:
        pooled: (B, D) float32, as `encode` gives it.
        tokens: (B, T, H) float32, the last hidden state.
        mask: (B, T) bool, true for tokens and false for padding; prefix and special tokens count.
    """

    pooled: torch.Tensor
    tokens: torch.Tensor
    mask: torch.Tensor


class TextEncoder(Protocol):
    """A frozen text encoder; the encoder's prefix is prepended to every text.

    Attributes:
        width: D.
        token_width: H.
        max_tokens: where a text is truncated, special tokens included.
        device: as PyTorch names it.
        backbone: the library's own module.

    Its methods may be called from several threads at once.
    """

    width: int
    token_width: int
    max_tokens: int
    device: str
    backbone: torch.nn.Module

    def lengths(self, texts: list[str]) -> list[int]:
        """Number of tokens of each text after truncation, prefix and special tokens included."""
        ...

    def encode(self, texts: list[str], max_tokens: int | None = None) -> torch.Tensor:
        """Encode one batch -> (B, D) float32. Texts of similar length in one batch waste little on padding.

        Args:
            max_tokens: truncate the texts here, special tokens included, if that is below the encoder's limit.
        """
        ...

    def encode_tokens(self, texts: list[str]) -> TokenFeatures:
        """Encode one batch, keeping every token of the last hidden state."""
        ...
