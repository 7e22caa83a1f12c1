"""A head behind fixed maps of its inputs: whitening of either side, measured on the training split.

Shapes: B rows, T tokens, D the width of an encoder.
"""

from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.fitted import Affine


class Whitened(Head):
    """Applies a map to CLS tokens, another to local tokens, another to texts, then the head; temperature is the head's.

    Args:
        head: takes features of the same widths as before.
        image: maps of CLS and of local tokens; None leaves images as they are.
        text: map of text tokens; None likewise.
    """

    def __init__(self, head: Head, image: tuple[Affine, Affine] | None, text: Affine | None) -> None:
        super().__init__()
        del self.logit_scale
        self.head = head
        self.cls_map: Affine | None
        self.local_map: Affine | None
        self.cls_map, self.local_map = image if image is not None else (None, None)
        self.text_map = text

    def scale(self) -> Tensor:
        """See `Head`."""
        return self.head.scale()

    def bias(self) -> Tensor | None:
        """See `Head`."""
        return self.head.bias()

    def clamp_scale(self) -> None:
        """See `Head`."""
        if hasattr(self, "head"):
            self.head.clamp_scale()

    def image_features(self, images: ImageInput) -> Tensor:
        """See `Head`."""
        if self.cls_map is not None and self.local_map is not None:
            images = ImageInput(self.cls_map(images.cls.float()), self.local_map(images.local.float()))
        return self.head.image_features(images)

    def patch_features(self, patch_BPD: Tensor, unit: bool = True) -> Tensor:
        """See `Head`."""
        mapped_BPD = patch_BPD if self.local_map is None else self.local_map(patch_BPD.float())
        return self.head.patch_features(mapped_BPD, unit)

    def text_features(self, texts: TextInput) -> Tensor:
        """See `Head`."""
        if self.text_map is not None:
            texts = TextInput(self.text_map(texts.tokens.float()), texts.mask)
        return self.head.text_features(texts)
