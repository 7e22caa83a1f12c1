"""Frozen text encoders behind one interface: one vector per text, and one per token.

Shapes: B texts, T tokens, D features, H features of a token.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from pipeline.config import EncoderSpec, ViewSpec
from pipeline.encoders.dual import check_described, is_dual
from pipeline.encoders.manifest import manifest_for
from pipeline.errors import CheckpointError


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
    """A frozen text encoder; the encoder's prefix is put before every text.

    Attributes:
        width: D.
        token_width: H.
        max_tokens: where a text is cut, special tokens included.
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
            max_tokens: cut the texts here, special tokens included, where that is earlier than the encoder's limit.
        """
        ...

    def encode_tokens(self, texts: list[str]) -> TokenFeatures:
        """Encode one batch, keeping every token of the last hidden state."""
        ...


def load_text_encoder(folder: Path, spec: EncoderSpec, view: ViewSpec, device: str) -> TextEncoder:
    """Load a text encoder from its checkpoint folder, in evaluation mode, without touching the network.

    A sentence-transformers folder pools and normalises as its own modules say, and puts before each text the prompt
    that `prompt` names, or its default one where it has one and no `prefix` is set. With loader transformers, `pooling`
    is `mean`, `cls` or `last` over all tokens but padding, or `model` for the model's own pooled output; of a dual
    encoder those are its projected `text_features`.

    Args:
        folder: written by `checkpoint.materialise`.
        spec: pooling, prefix and the dtype to compute in.
        view: its max_tokens, or None for the model's own.
        device: for PyTorch, for example "cpu" or "cuda:0".

    Raises:
        CheckpointError: the folder is unfinished, or lacks what was asked for; the message says what there is.
    """
    manifest = manifest_for(folder, spec.loader, "text")
    if set(spec.layers) != {-1}:
        raise CheckpointError(f"{folder.name}: texts are encoded from the last layer, found layers {list(spec.layers)}")
    if spec.loader == "open_clip":
        from pipeline.encoders.open_clip_dual import OpenClipText

        return OpenClipText(folder, spec, view, device)
    if is_dual(folder, spec):
        check_described(manifest, folder.name)
        from pipeline.encoders.transformers_dual import DualText

        return DualText(folder, spec, view, device)
    if spec.loader == "sentence-transformers":
        from pipeline.encoders.sentence_text import SentenceText

        return SentenceText(folder, spec, view.max_tokens, device)
    from pipeline.encoders.transformers_text import TransformersText

    return TransformersText(folder, spec, view.max_tokens, device)
