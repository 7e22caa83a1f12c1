"""Sounds through a frozen encoder, as a store of the recorded view would hold their features."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.config import AudioView
from pipeline.encoders.audio import AudioEncoder
from pipeline.encoding.audio_rows import sound_arrays, specs_of
from pipeline.errors import DataError
from pipeline.features.quantised import served_rows
from pipeline.features.ragged import LENGTH
from pipeline.inference.sounds import SoundLike, open_sound


def sound_features(
    encoder: AudioEncoder,
    view: AudioView,
    sounds: Sequence[SoundLike],
    batch_size: int,
    places: Sequence[int] | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Features of sounds, batch by batch in order; array name -> (b, *row_shape) in the dtype served.

    Args:
        view: as it was recorded; a sound is one row, whatever the rows of its stores are.
        places: numbers of the sounds for messages; their places in the list where None.

    Raises:
        DataError: a sound cannot be read, is too short for the encoder, or the encoder gives it NaN.
    """
    view = view.model_copy(update={"rows": "clip"})
    numbers = range(len(sounds)) if places is None else places
    specs = specs_of(encoder, view)
    for start in range(0, len(sounds), batch_size):
        each = [
            _arrays(encoder, view, sound, number, batch_size)
            for sound, number in zip(sounds[start:], numbers[start : start + batch_size], strict=False)
        ]
        arrays: dict[str, np.ndarray] = {}
        for spec in specs:
            values = [one[spec.name] for one in each]
            arrays[spec.name] = np.concatenate(values) if spec.ragged else np.stack(values)
            if spec.ragged:
                arrays[spec.name + LENGTH] = np.array([len(value) for value in values], np.int64)
        yield served_rows(arrays, specs)


def _arrays(
    encoder: AudioEncoder, view: AudioView, sound: SoundLike, number: int, batch_size: int
) -> dict[str, np.ndarray]:
    try:
        (arrays,) = sound_arrays(encoder, view, [open_sound(sound, view.seconds * view.windows)], batch_size)
    except DataError as error:
        raise DataError(f"Sound {number} cannot be encoded: {error}") from error
    if not all(np.isfinite(values).all() for values in arrays.values()):
        raise DataError(f"Sound {number} cannot be encoded: the encoder gave NaN or infinite features")
    return arrays
