"""Sounds as a further modality of encoding; what loads a model is imported when it is loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import AudioView, EncodeParams, EncoderSpec, FurtherView
from pipeline.encoding.further import BatchSize
from pipeline.encoding.protocol import RowEncoder
from pipeline.encoding.sounds import IndexedSounds, audio_ids
from pipeline.ids import Ids

if TYPE_CHECKING:
    from torch import Tensor


def ids(index: Path, view: FurtherView) -> Ids:
    """See `RowsOf`."""
    assert isinstance(view, AudioView)
    return audio_ids(index, view)


def row_encoder(
    checkpoint: Path,
    encoder: EncoderSpec,
    view: FurtherView,
    index: Path,
    params: EncodeParams,
    device: str,
    tried: BatchSize,
) -> RowEncoder:
    """See `RowsOf`."""
    from pipeline.encoders.audio import load_audio_encoder
    from pipeline.encoding.audio_rows import AudioRows, trial

    assert isinstance(view, AudioView)
    loaded = load_audio_encoder(checkpoint, encoder, view, device)
    loaded.optimise(params.compile)
    if params.batch_size == "auto":
        params = params.model_copy(update={"batch_size": tried(trial(loaded, view))})
    return AudioRows(loaded, view, IndexedSounds(index, view), params)


def noise(checkpoint: Path, encoder: EncoderSpec, view: FurtherView, device: str, count: int) -> "Callable[[], Tensor]":
    """See `RowsOf`."""
    from pipeline.datasets.audio.decode import require_soundfile
    from pipeline.encoders.audio import load_audio_encoder
    from pipeline.encoding.audio_rows import noise_window

    assert isinstance(view, AudioView)
    require_soundfile()
    ear = load_audio_encoder(checkpoint, encoder, view, device)
    return lambda: ear.forward(ear.prepare([noise_window(ear, view)] * count)).cls
