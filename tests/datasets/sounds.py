"""Sounds for tests: tones in the formats of libsndfile, and files that are wrong in one way each."""

import io
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="the extra `audio` is not installed")

RATE = 16_000


def tone(hertz: float = 440.0, seconds: float = 0.5, rate: int = RATE, peak: float = 0.5) -> np.ndarray:
    """(n,) float32."""
    times = np.arange(round(seconds * rate)) / rate
    return (peak * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def noise(seed: int, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    """(n,) float32, with a spectrum that differs by seed."""
    generator = np.random.default_rng(seed)
    samples = generator.normal(0, 0.1, round(seconds * rate)) + tone(200 + 150 * seed, seconds, rate, 0.3)
    return np.asarray(samples, np.float32)


def encoded(
    samples: np.ndarray, rate: int = RATE, form: str = "WAV", subtype: str | None = None, channels: int = 1
) -> bytes:
    """The samples as a sound file; each channel has the same."""
    buffer = io.BytesIO()
    columns = np.stack([samples] * channels, axis=1) if channels > 1 else samples
    soundfile.write(buffer, columns, rate, format=form, subtype=subtype)
    return buffer.getvalue()


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    """The samples as a file of the format that `form` says, WAV by default."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(samples, rate, **options))
    return path
