"""Another text encoder on the image encoder of an aligner."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.alignment.vectors import embed_images
from pipeline.arithmetic import own_arithmetic
from pipeline.errors import FingerprintMismatch
from pipeline.inference.inputs import ImageLike, image_list
from pipeline.inference.placement import Placement
from pipeline.inference.towers import SHARING, Images, main_folder, require_same_view, same_images, towers_of


class TextTowers(Placement):
    """`with_text_tower` and `with_text`."""

    @property
    def text_towers(self) -> dict[str, Images]:
        """Text towers that lie in the aligner's folder beside its own, by name.

        "shared": it has the aligner's vectors of pictures, bit by bit. "own": it has other ones.
        """
        return towers_of(main_folder(self.folder))

    def with_text(self, text: str | None) -> Self:
        """The aligner with another text tower of its folder; None for the folder's own. The image encoder is shared.

        Raises:
            ModelError: there is no such tower, or a folder is damaged.
        """
        options = {"device": str(self.device), "repeat": self.repeat, "text": text}
        other = self._loaded(main_folder(self.folder), **options)
        other._encoders.trust_as(self._encoders)  # both are of one folder
        return self._sharing(other)

    @own_arithmetic()
    def with_text_tower(self, name: str | Path, *, same_vectors: bool = False, **options: Any) -> Self:
        """The aligner of another text encoder with the same image encoder, which is not loaded again.

        Each pair of encoders usually has a space of its own, so its picture vectors are other ones too: encode pictures
        again, or search their store, which serves both. `shares_images` says whether vectors that are there stay valid.

        Args:
            name: folder or hub name of an aligner, such as data/models/multilingual.
            same_vectors: refuse one that makes other vectors of pictures.
            options: as for `from_pretrained`; the device and the repeat are this one's.

        Raises:
            FingerprintMismatch: it has another image view, lists the fields; or other vectors, where they must be the
                same.
            ModelError, DataError: as `from_pretrained`.
        """
        other = self._loaded(name, **{"device": str(self.device), "repeat": self.repeat, **options})
        require_same_view(self.config, other.config, str(name))
        if same_vectors and not self.shares_images(other):
            raise FingerprintMismatch(
                f"{name} makes other vectors of pictures than aligner {self.config.aligner!r}, whose vectors would not "
                f"fit its texts. {SHARING} Without same_vectors it is loaded with vectors of its own."
            )
        return self._sharing(other)

    def shares_images(self, other: "TextTowers") -> bool:
        """Whether both make the same vectors of the same pictures, bit by bit, so that those of one serve the other."""
        mine, theirs = self.config, other.config
        if mine.fingerprints["image"]["digest"] != theirs.fingerprints["image"]["digest"]:
            return False
        form = [(one.embed_dim, one.local_tokens, one.layers) for one in (mine, theirs)]
        return form[0] == form[1] and same_images(self._heads, other._heads)

    @own_arithmetic()
    def encode_image_each(
        self, images: ImageLike | Sequence[ImageLike], others: Sequence["TextTowers"], *, batch_size: int = 32
    ) -> list[np.ndarray]:
        """Unit vectors (N, K) of pictures by this aligner and by others of its image view; the encoder runs once.

        Raises:
            FingerprintMismatch: one has another image view.
            DataError, CheckpointError: as `encode_image`.
        """
        for other in others:
            require_same_view(self.config, other.config, repr(other.config.aligner))
        heads = [self._heads, *(other._heads for other in others)]
        features = self._encoders.image_features(image_list(images), batch_size)
        parts = [[embed_images(one, batch) for one in heads] for batch in features]
        return [np.concatenate(vectors) for vectors in zip(*parts, strict=True)]

    def _loaded(self, name: str | Path, **options: Any) -> Self:
        own: Any = type(self)  # `Aligner`, which has `from_pretrained`
        code = options.pop("trust_remote_code", False)
        found: Self = own.from_pretrained(name, trust_remote_code=code, **options)
        return found

    def _sharing(self, other: Self) -> Self:
        other._encoders.share_images(self._encoders)
        return other
