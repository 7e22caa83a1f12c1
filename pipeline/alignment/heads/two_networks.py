"""Heads that are one network per modality, each from one vector to the shared space."""

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import Head
from pipeline.alignment.heads.vectors import image_vector, patch_vector, text_vector
from pipeline.config import ImageVector


class TwoNetworks(Head):
    """A network of image vectors, one of text vectors, and the temperature.

    Args:
        image_kind: how a vector is made of CLS and local tokens.
        image, text: networks (B, D) to (B, K); of "concat", the image's takes 2 D.
    """

    def __init__(
        self,
        image_kind: ImageVector,
        image: nn.Module,
        text: nn.Module,
        temperature: float = 0.07,
        logit_bias: float | None = None,
    ) -> None:
        super().__init__(temperature, logit_bias)
        self.image_kind: ImageVector = image_kind
        self.image, self.text = image, text

    def let_texts_stand(self) -> None:
        """Take texts as they come, as vectors of a space that stands."""
        self.text = nn.Sequential()

    def image_features(self, images: ImageInput) -> Tensor:
        """See `Head`."""
        return F.normalize(self.image(image_vector(images, self.image_kind)), dim=-1)

    def patch_features(self, patch_BPD: Tensor, unit: bool = True) -> Tensor:
        """See `Head`."""
        projected_BPK: Tensor = self.image(patch_vector(patch_BPD, self.image_kind))
        return F.normalize(projected_BPK, dim=-1) if unit else projected_BPK

    def text_features(self, texts: TextInput) -> Tensor:
        """See `Head`."""
        return F.normalize(self.text(text_vector(texts)), dim=-1)
