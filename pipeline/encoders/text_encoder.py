"""The interface of frozen text encoders: one vector per text, and one per token.

Shapes: B texts, T tokens, D features, H features of a token.
"""

from dataclasses import dataclass
from typing import Any, Protocol

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


@dataclass(frozen=True)
class TextBatch:
    """Texts as a model takes them, made by `TextEncoder.prepare`.

    Attributes:
        inputs: in the memory of the host, in the form of the encoder's library.
    """

    inputs: Any


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

    def prepare(self, texts: list[str], max_tokens: int | None = None) -> TextBatch:
        """Tokenise one batch, all that needs no device. Texts of similar length waste little on padding.

        Args:
            max_tokens: truncate the texts here, special tokens included, if that is below the encoder's limit.
        """
        ...

    def encode(self, texts: list[str] | TextBatch, max_tokens: int | None = None) -> torch.Tensor:
        """Encode one batch -> (B, D) float32; arguments as `prepare`, whose result it also takes."""
        ...

    def encode_tokens(self, texts: list[str] | TextBatch) -> TokenFeatures:
        """Encode one batch, keeping every token of the last hidden state."""
        ...
