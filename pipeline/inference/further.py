"""What an aligner takes beside pictures and texts: sounds; and the space of another aligner that it was added to."""

from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, Self, overload

import numpy as np

from pipeline.alignment import HeadConfig
from pipeline.alignment.vectors import embed_images
from pipeline.arithmetic import own_arithmetic
from pipeline.config.modalities import ORDER, many
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.features.by_id import RowsById
from pipeline.inference.arguments import whole_number
from pipeline.inference.classify import Label, best_labels, class_list, probabilities
from pipeline.inference.inputs import image_list
from pipeline.inference.mixed import MODALITIES
from pipeline.inference.search import Query, Searched, opened_rows, store_side
from pipeline.inference.sounds import SoundLike, is_sound, sound_list
from pipeline.inference.text_towers import TextTowers

SOUND_TEMPLATES = ("the sound of a {}.",)


class Further(TextTowers):
    """Sounds, and what of each modality makes its vectors.

    Attributes:
        config: what was recorded when it was fitted.
    """

    _space: "Further | None" = None

    @property
    def modalities(self) -> list[Any]:
        """What can be encoded, of "image", "audio" and "text"."""
        there = {*self.config.modalities, *(() if self._space is None else self._space.config.modalities)}
        return [modality for modality in ORDER if modality in there and modality in MODALITIES]

    @property
    def standing_config(self) -> HeadConfig:
        """The config of the space that it was added to; its own where it has a space of its own."""
        return self.config if self._space is None else self._space.config

    def supports(self, modality: Any) -> bool:
        """Whether inputs of a modality can be encoded; a tuple of modalities, for inputs of both at once, never."""
        return isinstance(modality, str) and modality in self.modalities

    def embed_sounds(
        self, sounds: Sequence[SoundLike], batch_size: int, places: Sequence[int] | None = None
    ) -> np.ndarray:
        """See `Encode`."""
        side = self.config.modalities.get("audio")
        if side is None:
            self._takes_no("audio")
        features = self._encoders.audio_features(side, sounds, batch_size, places)
        if side == "image":
            return np.concatenate([embed_images(self._heads, batch) for batch in features])
        return np.concatenate([self._heads.embed_second(batch) for batch in features])

    @overload  # a str is one path, never a sequence of them
    def classify_audio(  # type: ignore[overload-overlap]
        self,
        sounds: Sequence[SoundLike],
        names: Iterable[str],
        templates: Sequence[str] = ...,
        *,
        top: int | None = ...,
    ) -> list[list[Label]]: ...

    @overload
    def classify_audio(
        self, sounds: SoundLike, names: Iterable[str], templates: Sequence[str] = ..., *, top: int | None = ...
    ) -> list[Label]: ...

    @own_arithmetic()
    def classify_audio(
        self,
        sounds: SoundLike | Sequence[SoundLike],
        names: Iterable[str],
        templates: Sequence[str] = SOUND_TEMPLATES,
        *,
        top: int | None = None,
    ) -> list[Label] | list[list[Label]]:
        """As `classify`, of sounds.

        Raises:
            DataError: as `classify` and `encode_audio`.
        """
        given = sound_list(sounds)
        top = None if top is None else whole_number(top, "top")
        listed = class_list(names)
        classes = self._classes(listed, templates)
        shares = probabilities(self.embed_sounds(given, 32), classes, self._heads.logit_scale)
        labels = [best_labels(listed, row, top) for row in shares]
        return labels[0] if len(given) == 1 and given[0] is sounds else labels

    def to(self, *args: Any, **options: Any) -> Self:
        """See `Placement`."""
        if self._space is not None:
            self._space.to(*args, **options)
        return super().to(*args, **options)

    def on(self, device: Any) -> Self:
        """See `Encode`."""
        other = super().on(device)
        other._space = None if self._space is None else self._space.on(device)
        return other

    def _classes(self, names: Iterable[str], templates: Sequence[str]) -> np.ndarray:
        raise NotImplementedError

    def _owner(self, modality: str) -> "Further":
        """What makes the vectors of pictures or of texts: the aligner itself, or the space that it was added to.

        Raises:
            DataError: neither takes them.
        """
        if self._space is not None and modality in self._space.config.modalities:
            return self._space
        if modality not in self.config.modalities:
            self._takes_no(modality)
        return self

    def _takes_no(self, modality: str) -> NoReturn:
        taken = " and ".join(map(many, self.modalities))
        raise DataError(f"Aligner {self.config.aligner!r} takes {taken}; it has no encoder of {many(modality)}.")

    def rows_of(self, store: Searched | Sequence[Searched]) -> tuple["Further", RowsById]:
        """Whose features a store holds, the aligner's or those of its space, and its rows; errors as `opened_rows`."""
        opened = opened_rows(store, self.config) if self._space is None else self._opened(store)
        try:
            store_side(opened, self.config)
        except FingerprintMismatch:
            if self._space is None:
                raise
            store_side(opened, self._space.config)
            return self._space, opened
        return self, opened

    def _opened(self, store: Searched | Sequence[Searched]) -> RowsById:
        assert self._space is not None
        try:
            return opened_rows(store, self.config)
        except FingerprintMismatch:
            return opened_rows(store, self._space.config)

    def _query(self, query: Query) -> np.ndarray:
        """The unit vector (K,) of a text, a picture or a sound."""
        if isinstance(query, str):
            (vector,) = self.embed_sentences([query], 1)
        elif is_sound(query):
            (vector,) = self.embed_sounds(sound_list(query), 1)
        else:
            (vector,) = self.embed_pictures(image_list(query), 1)
        found: np.ndarray = vector
        return found
