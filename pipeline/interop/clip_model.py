"""An aligner as code written for open_clip expects a model: `encode_image`, `encode_text`, a transform, a tokenizer."""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.inference import Aligner

PAD = -1  # after the last byte of a text


class ClipModel(nn.Module):
    """A trained aligner with the two methods of open_clip's models; it has nothing to train."""

    def __init__(self, aligner: Aligner) -> None:
        super().__init__()
        self.aligner = aligner

    def encode_image(self, image: Tensor, normalize: bool = True) -> Tensor:
        """Unit vectors (N, K) float32 of images (N, 3, H, W) that went through `transform`.

        They are those of the feature store: an autocast around the call is turned off, and vectors always come at
        unit length, so `normalize` only exists for callers that pass it.
        """
        del normalize
        with torch.autocast(image.device.type, enabled=False):
            return torch.from_numpy(self.aligner.encode_pixels(image)).to(image.device)

    def encode_text(self, text: Tensor, normalize: bool = True) -> Tensor:
        """Unit vectors (N, K) float32 of texts (N, T) that went through `tokenize`; as `encode_image`."""
        del normalize
        with torch.autocast(text.device.type, enabled=False):
            return torch.from_numpy(self.aligner.encode_text(untokenize(text))).to(text.device)

    def transform(self, image: Image.Image) -> Tensor:
        """A picture of any size and mode as (3, H, W) float32."""
        return self.aligner.preprocess(image)


def tokenize(texts: str | Sequence[str]) -> Tensor:
    """Texts as UTF-8 bytes, (N, T) int64, -1 after the end.

    Callers that only carry tokens from the tokenizer to `encode_text` work unchanged, and the text encoder's own
    tokenizer sees the very strings: it alone knows its prefix, its length and its batches.
    """
    rows = [list(text.encode("utf-8")) for text in ([texts] if isinstance(texts, str) else texts)]
    width = max((len(row) for row in rows), default=0)
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows], dtype=torch.int64).reshape(len(rows), width)


def untokenize(tokens: Tensor) -> list[str]:
    """The texts that `tokenize` was given."""
    return [bytes(byte for byte in row if byte != PAD).decode("utf-8") for row in tokens.tolist()]


def load_clip_model(
    name: str, repeat: int = 0, device: str = "auto", trust: str | Sequence[str] = ()
) -> tuple[ClipModel, Callable[[Image.Image], Tensor], Callable[[str | Sequence[str]], Tensor]]:
    """Model, transform and tokenizer of an aligner, in the order in which open_clip and CLIP_benchmark give them.

    Args:
        name, repeat, device, trust: as for `Aligner.from_pretrained`, with the same errors.
    """
    model = ClipModel(Aligner.from_pretrained(name, repeat=repeat, device=device, trust=trust)).eval()
    return model, model.transform, tokenize
