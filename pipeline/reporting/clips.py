"""Sounds of the indexes, by the references in examples: playable in the page, with their waveform drawn."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipeline.datasets.audio.decode import Sound, decode, require_soundfile
from pipeline.datasets.decode import read_bytes
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.reporting.blocks import Clip, Mark
from pipeline.reporting.inputs import Node
from pipeline.reporting.svg import drawing, polygon

_TYPES = {"ogg": "audio/ogg", "wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}
_MOST_BYTES = 120_000  # of a file that goes into the page as it is
_SECONDS = 8.0  # of a longer one
_WIDTH, _HEIGHT, _BARS = 150.0, 34.0, 75


class Clips:
    """The sounds of the indexes under `folder` (data/index). Each table is read once, each clip made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        self._made: dict[tuple[str, str, str], tuple[str, Markup]] = {}

    def clip(self, reference: Node, alt: str, caption: str = "", mark: Mark = "") -> Clip:
        """The sound that `{"group", "dataset", "audio_id"}` names.

        Raises:
            DataError: there is no such index, the sound is not in it, or it cannot be decoded.
        """
        group, dataset, identifier = (reference[key].text() for key in ("group", "dataset", "audio_id"))
        if (group, dataset, identifier) not in self._made:
            self._made[group, dataset, identifier] = self._make(reference, self._folder / group / dataset, identifier)
        uri, wave = self._made[group, dataset, identifier]
        return Clip(uri, wave, alt, caption, mark)

    def _make(self, reference: Node, index: Path, identifier: str) -> tuple[str, Markup]:
        key = (index.parent.name, index.name)
        if key not in self._rows:
            rows = read_table(index / "audio.parquet", ["audio_id", "path", "offset", "length", "form"]).to_pylist()
            self._rows[key] = {row["audio_id"]: row for row in rows}
        row = self._rows[key].get(identifier)
        if row is None:
            raise DataError(
                f"{reference.source} names sound {identifier}, which is not in {index}: the example and the index are "
                "of different runs. Run: dvc repro"
            )
        content = read_bytes(row, index)
        sound = decode(content, _SECONDS)
        kind = _TYPES.get(str(row["form"]))
        if kind is None or len(content) > _MOST_BYTES:
            content, kind = _wave_file(sound), "audio/wav"
        return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}", waveform(sound)


def waveform(sound: Sound) -> Markup:
    """The outline of a sound's loudness over time."""
    pieces = np.array_split(np.abs(sound.samples), min(_BARS, len(sound.samples)))
    peaks = np.array([float(piece.max()) for piece in pieces])
    peaks = peaks / max(float(peaks.max()), 1e-6)
    xs = np.linspace(0, _WIDTH, len(peaks)).tolist()
    above = [(x, _HEIGHT / 2 * (1 - max(0.03, peak))) for x, peak in zip(xs, peaks.tolist(), strict=True)]
    below = [(x, _HEIGHT - y) for x, y in reversed(above)]
    seconds = len(sound.samples) / sound.rate
    return drawing(_WIDTH, _HEIGHT, f"Waveform, {seconds:.1f} seconds", [polygon([*above, *below], "wave")])


def _wave_file(sound: Sound) -> bytes:
    """The sound as a WAV file of 16 bits, for browsers that do not read its own format."""
    out = io.BytesIO()
    require_soundfile().write(out, sound.samples, sound.rate, format="WAV", subtype="PCM_16")
    return out.getvalue()
