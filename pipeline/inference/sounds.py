"""Sounds from users: paths, bytes of files, and samples with their rate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.datasets.audio.decode import LEAST_RATE, MOST_RATE, Sound, decode
from pipeline.errors import DataError
from pipeline.inference.arguments import listed, require_numbers, whole_number
from pipeline.user_path import user_path

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
SoundLike = str | Path | bytes | bytearray | Mapping[str, Any] | tuple[Any, int] | Sound
_STARTS = (b"OggS", b"fLaC", b"ID3", b"FORM", b".snd", b"caff")
_LAYERS = (0xE2, 0xE3, 0xF2, 0xF3, 0xFA, 0xFB)  # second byte of an MP3 frame
_KEYS = {"array", "sampling_rate"}
_EXPECTED = 'a path, the bytes of a file, (samples, rate), or {"array": samples, "sampling_rate": rate}'


def is_sound_file(path: str | Path) -> bool:
    """Whether a path ends like that of a sound."""
    return str(path).lower().endswith(SUFFIXES)


def is_sound_bytes(content: bytes | bytearray) -> bool:
    """Whether bytes begin like the file of a sound."""
    start = bytes(content[:12])
    waves = start[:4] in (b"RIFF", b"RF64") and start[8:12] == b"WAVE"
    return waves or start.startswith(_STARTS) or (start[:1] == b"\xff" and start[1:2] != b"" and start[1] in _LAYERS)


def is_sound(value: Any) -> bool:
    """Whether a value is certainly one sound: samples with a rate, a file that is named or begins like one."""
    if isinstance(value, str | Path):
        return is_sound_file(value)
    if isinstance(value, bytes | bytearray):
        return is_sound_bytes(value)
    return isinstance(value, Sound) or _with_rate(value)


def sound_list(sounds: Any) -> list[SoundLike]:
    """One sound or many, as a list.

    Raises:
        DataError: no sound at all, or something that is none; a set or a table (see `listed`).
    """
    bare = isinstance(sounds, np.ndarray | torch.Tensor)
    given = [sounds] if _may_be_sound(sounds) or bare else listed(sounds, "sound")
    for number, sound in enumerate(given):
        require_sound(sound, number)
    return given


def _may_be_sound(value: Any) -> bool:
    return isinstance(value, str | Path | bytes | bytearray) or is_sound(value)


def require_sound(sound: Any, number: int) -> None:
    """Check that an element of a list can be a sound.

    Raises:
        DataError: it cannot; names its place.
    """
    if _may_be_sound(sound):
        return
    if isinstance(sound, np.ndarray | torch.Tensor):
        raise DataError(
            f"Sound {number}: found samples without their rate: pass (samples, rate), with the rate in Hz, such as "
            "(samples, 16000)."
        )
    raise DataError(f"Sound {number}: expected {_EXPECTED}, found {type(sound).__name__}.")


def open_sound(sound: SoundLike, seconds: float | None = None) -> Sound:
    """A sound as the stage `encode` hears it: one channel, float32.

    Args:
        seconds: how much of a file is decoded; None for all.

    Raises:
        DataError: the file is missing, or no sound that can be decoded; samples that are none, or an impossible rate.
    """
    if isinstance(sound, Sound):
        return sound
    if isinstance(sound, bytes | bytearray):
        return decode(bytes(sound), seconds)
    if isinstance(sound, str | Path):
        path = user_path(sound, "the file of a sound")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error} (looked from {Path.cwd()})") from error
        try:
            return decode(content, seconds)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    samples, rate = (sound["array"], sound["sampling_rate"]) if isinstance(sound, Mapping) else sound
    return Sound(_samples(samples), whole_number(rate, "sampling_rate", LEAST_RATE, MOST_RATE))


def _with_rate(value: Any) -> bool:
    if isinstance(value, Mapping):
        return value.keys() >= _KEYS
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    samples, rate = value
    number = isinstance(rate, int | np.integer) and not isinstance(rate, bool)
    return number and (isinstance(samples, np.ndarray | torch.Tensor) or _are_numbers(samples))


def _are_numbers(samples: Any) -> bool:
    return isinstance(samples, list) and bool(samples) and isinstance(samples[0], int | float)


def _samples(values: Any) -> np.ndarray:
    """Samples (n,) float32; of several channels their mean. Whole numbers are brought to the range from -1 to 1."""
    if isinstance(values, torch.Tensor):
        require_numbers(values)
        values = values.detach().cpu().numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or not array.size:
        raise DataError(f"Expected samples (n,) or (channels, n) of numbers, found {array.dtype} {tuple(array.shape)}.")
    if array.dtype.kind == "u" and array.dtype.itemsize == 1:  # as in WAV files, where silence is 128
        array = (array.astype(np.float32) - 128) / 128
    elif array.dtype.kind in "iu":
        array = array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    if array.ndim == 2:  # channels are few
        array = array.mean(axis=int(array.shape[1] < array.shape[0]), dtype=np.float32)
    samples = np.ascontiguousarray(array, np.float32)
    if not np.isfinite(samples).all():
        raise DataError("Expected finite samples, found NaN or infinity.")
    return samples
