"""Encodes the sounds of one shard: windows in batches, pooled to one row per clip."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config import AudioView, EncodeParams
from pipeline.datasets.audio.decode import Sound, resampled
from pipeline.datasets.audio.windows import cut
from pipeline.encoders.audio import AudioEncoder, PreparedWindows
from pipeline.encoders.memory import explain_out_of_memory
from pipeline.encoding.part_rows import Arrays, PartRows, means_over_parts
from pipeline.encoding.rows import TOKENS
from pipeline.encoding.sounds import IndexedSounds
from pipeline.encoding.workers import DeviceSlots, to_host
from pipeline.errors import DataError
from pipeline.features import ArraySpec


def noise_window(encoder: AudioEncoder, view: AudioView) -> np.ndarray:
    """A whole window of noise."""
    return np.random.default_rng(0).normal(0, 0.1, round(view.seconds * encoder.rate)).astype(np.float32)


class AudioRows(PartRows):
    """One vector and the mean over frames of each kept layer of every clip, and frames of the last, by tier.

    Arrays: `cls` (L, D) by pooling and, of an encoder with frames, `mean` (L, D); with tier grid `grid` (G, D), the
    means over G equal parts of the clip's frames; with tier full the ragged `tokens` (D,), every real frame. A sound
    that cannot be read, or is too short for the encoder, is a row with a reason.
    """

    def __init__(self, encoder: AudioEncoder, view: AudioView, sounds: IndexedSounds, params: EncodeParams) -> None:
        """Take the encoder as it was loaded for the view."""
        self._encoder, self._view, self._sounds = encoder, view, sounds
        self._slots = DeviceSlots(encoder.device)
        super().__init__(specs_of(encoder, view), {"sample_rate": encoder.rate}, params, encoder.device)

    def tokens(self, ids: Sequence[str]) -> list[int]:
        """See `RaggedRowEncoder`; by the lengths that the index states."""
        rate = self._encoder.rate
        return [
            sum(max(0, self._encoder.frame_count(round(seconds * rate))) for seconds in windows)
            for windows in self._sounds.seconds(ids)
        ]

    def sizes(self, ids: Sequence[str]) -> list[int]:
        """See `PartRows`: windows."""
        return self._sounds.window_counts(ids)

    def rows(self, ids: Sequence[str]) -> tuple[list[Arrays | None], list[str | None]]:
        """See `PartRows`."""
        windows: list[list[np.ndarray]] = []
        reasons: list[str | None] = []
        for identifier in ids:
            try:
                sound, number = self._sounds.load(identifier)
                windows.append(windows_of(self._encoder, self._view, sound, number))
                reasons.append(None)
            except DataError as error:
                windows.append([])
                reasons.append(str(error))
        return encoded(self._encoder, self._view, windows, self.batch_size, self._slots), reasons


def specs_of(encoder: AudioEncoder, view: AudioView) -> tuple[ArraySpec, ...]:
    """The arrays that a view keeps of an encoder."""
    layers, width = len(encoder.layers), encoder.width
    specs = [ArraySpec("cls", (layers, width), view.dtype)]
    if encoder.has_frames:
        specs.append(ArraySpec("mean", (layers, width), view.dtype))
    if view.tier == "grid":
        specs.append(ArraySpec("grid", (view.grid, width), view.dtype))
    if view.tier == "full":
        windows = view.windows if view.rows == "clip" else 1
        most = windows * encoder.frame_count(round(view.seconds * encoder.rate))
        specs.append(ArraySpec(TOKENS, (width,), view.dtype, most=most))
    return tuple(specs)


def sound_arrays(encoder: AudioEncoder, view: AudioView, sounds: Sequence[Sound], batch_size: int = 16) -> list[Arrays]:
    """What a store of the view, with clips as its rows, has of each sound: float32, before it is rounded.

    Args:
        batch_size: windows in a pass.

    Raises:
        DataError: a sound is too short for the encoder.
    """
    windows = [windows_of(encoder, view, sound) for sound in sounds]
    rows = encoded(encoder, view, windows, batch_size, DeviceSlots(encoder.device))
    return [row for row in rows if row is not None]


def windows_of(encoder: AudioEncoder, view: AudioView, sound: Sound, number: int | None = None) -> list[np.ndarray]:
    """The windows of a sound that the view reads, at the rate of the encoder; or only the one of that number.

    Raises:
        DataError: there is none, or the first is too short for the encoder.
    """
    windows = cut(resampled(sound, encoder.rate), encoder.rate, view.seconds, view.windows)
    if number is not None:
        windows = windows[number : number + 1]
    if not windows or len(windows[0]) < encoder.least:
        found = len(windows[0]) if windows else 0
        raise DataError(f"a sound of {found:,} samples at {encoder.rate:,} Hz; its encoder needs {encoder.least:,}")
    return [window for window in windows if len(window) >= encoder.least]


def encoded(
    encoder: AudioEncoder,
    view: AudioView,
    windows: Sequence[Sequence[np.ndarray]],
    batch_size: int,
    slots: DeviceSlots,
) -> list[Arrays | None]:
    """The arrays of clips, float32, given by their windows; None where a clip has none.

    Args:
        batch_size: windows in a pass.
        slots: of the device.
    """
    flat = [window for own in windows for window in own]
    parts = [_pass(encoder, view, flat[start : start + batch_size], slots) for start in range(0, len(flat), batch_size)]
    each = iter([window for part in parts for window in part])
    return [_pooled(view, [next(each) for _ in own]) if own else None for own in windows]


@dataclass(frozen=True)
class _Window:
    """Features of one window, whose weight is the number of its frames or else of its samples."""

    cls: np.ndarray
    mean: np.ndarray | None
    frames: np.ndarray | None
    weight: int


def _pass(encoder: AudioEncoder, view: AudioView, windows: Sequence[np.ndarray], slots: DeviceSlots) -> list[_Window]:
    prepared: PreparedWindows = encoder.prepare(windows)  # while others occupy the device
    advice = "lower encode.batch_size or the view's seconds, or compute in `dtype: bfloat16`"
    with slots.slot(), explain_out_of_memory(f"A batch of {len(windows)} windows", advice):
        features = encoder.forward(prepared)
        cls = to_host(features.cls)
        means = None if features.mean is None else to_host(features.mean)
        keeps = view.tier != "pooled" and features.frames is not None
        frames = to_host(features.frames) if keeps and features.frames is not None else None
    return [
        _Window(
            cls=cls[place],
            mean=None if means is None else means[place],
            frames=None if frames is None else frames[place, :count],
            weight=count or length,
        )
        for place, (count, length) in enumerate(zip(features.counts, prepared.lengths, strict=True))
    ]


def _pooled(view: AudioView, windows: Sequence[_Window]) -> Arrays:
    """The arrays of a clip."""
    weights = [window.weight for window in windows]
    arrays = {"cls": np.average([window.cls for window in windows], axis=0, weights=weights).astype(np.float32)}
    means = [window.mean for window in windows if window.mean is not None]
    if means:
        arrays["mean"] = np.average(means, axis=0, weights=weights).astype(np.float32)
    if view.tier != "pooled":
        frames = np.concatenate([window.frames for window in windows if window.frames is not None])
        arrays[TOKENS if view.tier == "full" else "grid"] = (
            frames if view.tier == "full" else means_over_parts(frames, view.grid)
        )
    return arrays


def trial(encoder: AudioEncoder, view: AudioView) -> Callable[[int], None]:
    """What encodes a batch of so many whole windows of noise."""
    window = noise_window(encoder, view)
    slots = DeviceSlots(encoder.device)

    def run(size: int) -> None:
        encoded(encoder, view, [[window]] * size, size, slots)

    return run
