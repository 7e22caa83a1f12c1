"""Videos as a further modality of encoding; what loads a model is imported when it is loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config import EncodeParams, EncoderSpec, FurtherView
from pipeline.config.video_view import VideoView
from pipeline.datasets.further_files import FurtherFiles
from pipeline.encoding.further import BatchSize, require_samples
from pipeline.encoding.protocol import RowEncoder
from pipeline.ids import Ids

if TYPE_CHECKING:
    from torch import Tensor


def ids(index: Path, view: FurtherView) -> Ids:
    """See `RowsOf`."""
    require_samples(index, view.modality)
    return FurtherFiles(index, view.modality).row_ids


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
    from pipeline.encoders.video import load_video_encoder
    from pipeline.encoding.video_rows import VideoRows, noise_video

    assert isinstance(view, VideoView)
    loaded = load_video_encoder(checkpoint, encoder, view, device)
    if params.compile:
        loaded.optimise()
    if params.batch_size == "auto":
        video = loaded.prepare(noise_video(view))
        params = params.model_copy(update={"batch_size": tried(lambda size: _run(loaded.forward, video, size))})
    require_samples(index, view.modality)
    return VideoRows(loaded, view, FurtherFiles(index, view.modality, ("frames",)), params, device)


def _run(forward: "Callable[[Tensor], object]", video: "Tensor", size: int) -> None:
    forward(video.expand(size, *video.shape))


def noise(checkpoint: Path, encoder: EncoderSpec, view: FurtherView, device: str, count: int) -> "Callable[[], Tensor]":
    """See `RowsOf`."""
    from pipeline.encoders.video import load_video_encoder
    from pipeline.encoding.video_rows import noise_video

    assert isinstance(view, VideoView)
    loaded = load_video_encoder(checkpoint, encoder, view, device)
    video = loaded.prepare(noise_video(view))
    return lambda: loaded.forward(video.expand(count, *video.shape)).cls
