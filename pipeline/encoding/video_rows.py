"""Encodes the videos of one shard."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image

from pipeline.config import EncodeParams
from pipeline.config.video_view import VideoView
from pipeline.datasets.further_files import FurtherFiles
from pipeline.datasets.video import decode
from pipeline.encoders.memory import explain_out_of_memory
from pipeline.encoders.video import VideoTower
from pipeline.encoding.part_rows import Arrays, PartRows, means_over_parts
from pipeline.encoding.rows import TOKENS
from pipeline.encoding.workers import DeviceSlots, to_host
from pipeline.errors import CheckpointError, DataError
from pipeline.features import ArraySpec

_ADVICE = "lower encode.batch_size or the view's frames, or compute in `dtype: bfloat16`"


def noise_video(view: VideoView) -> list[Image.Image]:
    """Frames of noise."""
    return [Image.effect_noise((view.resolution, view.resolution), 64).convert("RGB") for _ in range(view.frames)]


@dataclass(frozen=True)
class _Loaded:
    tower: VideoTower
    view: VideoView
    videos: FurtherFiles


class VideoRows(PartRows):
    """One vector and the mean over patches of each kept layer of every video, and time steps of the last, by tier.

    Arrays: `cls` (L, D) by pooling and, of an encoder with time steps, `mean` (L, D); with tier grid `grid` (G, D), the
    means over G equal parts of the time; with tier full the ragged `tokens` (D,), every time step.
    """

    def __init__(
        self, tower: VideoTower, view: VideoView, videos: FurtherFiles, params: EncodeParams, device: str
    ) -> None:
        """Take the encoder as it was loaded for the view.

        Raises:
            CheckpointError: the view asks for time steps that it has not.
        """
        if view.tier != "pooled" and not tower.steps:
            raise CheckpointError("an encoder without time steps gives one vector per video; set `tier: pooled`")
        self._own, self._slots = _Loaded(tower, view, videos), DeviceSlots(device)
        super().__init__(_specs(tower, view), {"frames": view.frames}, params, device)

    def tokens(self, ids: Sequence[str]) -> list[int]:
        """See `RaggedRowEncoder`."""
        return [self._own.tower.steps] * len(ids)

    def rows(self, ids: Sequence[str]) -> tuple[list[Arrays | None], list[str | None]]:
        """See `PartRows`."""
        own, prepared = self._own, list[torch.Tensor]()
        reasons: list[str | None] = []
        for identifier in ids:
            try:
                row, content = own.videos.load(identifier)
                prepared.append(own.tower.prepare(decode(content, own.view.frames, row["frames"])))
                reasons.append(None)
            except DataError as error:
                reasons.append(str(error))
        each = iter(self._encoded(prepared))
        return [next(each) if reason is None else None for reason in reasons], reasons

    def _encoded(self, prepared: Sequence[torch.Tensor]) -> list[Arrays]:
        if not prepared:
            return []
        view = self._own.view
        with self._slots.slot(), explain_out_of_memory(f"A batch of {len(prepared)} videos", _ADVICE):
            features = self._own.tower.forward(torch.stack(list(prepared)))
            arrays = {"cls": to_host(features.cls)}
            if features.mean is not None:
                arrays["mean"] = to_host(features.mean)
            if view.tier != "pooled" and features.steps is not None:
                arrays[TOKENS if view.tier == "full" else "grid"] = to_host(features.steps)
        rows = [{name: values[place] for name, values in arrays.items()} for place in range(len(prepared))]
        if view.tier == "grid":
            rows = [row | {"grid": means_over_parts(row["grid"], view.grid)} for row in rows]
        return rows


def _specs(tower: VideoTower, view: VideoView) -> tuple[ArraySpec, ...]:
    specs = [ArraySpec("cls", (len(tower.layers), tower.width), view.dtype)]
    if tower.steps:
        specs.append(ArraySpec("mean", (len(tower.layers), tower.width), view.dtype))
    if view.tier == "grid":
        specs.append(ArraySpec("grid", (view.grid, tower.width), view.dtype))
    if view.tier == "full":
        specs.append(ArraySpec(TOKENS, (tower.width,), view.dtype, most=tower.steps))
    return tuple(specs)
