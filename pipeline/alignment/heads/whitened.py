"""A head behind fixed maps of its inputs, measured on the training split: whitening, or one scale for fused views.

Shapes: B rows, T tokens, D the width of an encoder.
"""

from torch import Tensor

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.fitted import Affine, Blocks

Map = Affine | Blocks


def mapped_images(images: ImageInput, cls_map: Map | None, local_map: Map | None) -> ImageInput:
    """CLS tokens through one map and local tokens through another, float32; as they are where there is none."""
    cls = images.cls if cls_map is None else cls_map(images.cls.float())
    return ImageInput(cls, images.local if local_map is None else local_map(images.local.float()))


def mapped_texts(texts: TextInput, text_map: Map | None) -> TextInput:
    """Text tokens through a map, float32; as they are where there is none."""
    return texts if text_map is None else TextInput(text_map(texts.tokens.float()), texts.mask)


class Whitened(Head):
    """Applies a map to CLS tokens, another to local tokens, another to texts, then the head; temperature is the head's.

    Args:
        head: takes features of the same widths as before.
        image: maps of CLS and of local tokens; None leaves them as they are.
        text: map of text tokens; None likewise.
    """

    def __init__(self, head: Head, image: tuple[Map, Map | None] | None, text: Map | None) -> None:
        super().__init__()
        del self.logit_scale
        self.head = head
        self.cls_map: Map | None
        self.local_map: Map | None
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
        return self.head.image_features(mapped_images(images, self.cls_map, self.local_map))

    def patch_features(self, patch_BPD: Tensor, unit: bool = True) -> Tensor:
        """See `Head`."""
        mapped_BPD = patch_BPD if self.local_map is None else self.local_map(patch_BPD.float())
        return self.head.patch_features(mapped_BPD, unit)

    def text_features(self, texts: TextInput) -> Tensor:
        """See `Head`."""
        return self.head.text_features(mapped_texts(texts, self.text_map))
