"""A step of training as a CUDA graph: recorded once per size of batch, then replayed without Python in between."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.training.records import Outcome
from pipeline.errors import ModelError

_WARM_UP = 3  # runs before the recording, in which libraries choose their kernels

Step = Callable[[PairBatch], Outcome]


class Recorder(Protocol):
    """Records what a function does on the device, and does it again."""

    def warm_up(self, function: Callable[[], Outcome], runs: int) -> None:
        """Run the function beside the present work of the device."""

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        """Where a replay leaves its results, and the replay."""


class CudaRecorder:
    """Graphs of one memory pool, after PyTorch's notes on CUDA graphs (whole-network capture)."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], Outcome], runs: int) -> None:
        """Run the function on a stream of its own."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(runs):
                function()
        torch.cuda.current_stream().wait_stream(stream)

    def record(self, function: Callable[[], Outcome]) -> tuple[Outcome, Callable[[], None]]:
        """Record one run; it computes nothing yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            outcome = function()
        return outcome, graph.replay


@dataclass(frozen=True)
class _Recorded:
    batch: PairBatch
    outcome: Outcome
    replay: Callable[[], None]


class Captured:
    """`step`, recorded at the first batch of each shape.

    Args:
        step: works on the tensors of the batch alone, and reads nothing back from the device.
        moved: the tensors that `step` changes in place; the warm-up must leave no trace in them. Those that come into
            being in the warm-up are zero before the first step, as AdamW's are.
        recorder: what records; None for CUDA.
    """

    def __init__(self, step: Step, moved: Callable[[], Sequence[Tensor]], recorder: Recorder | None = None) -> None:
        self._step, self._moved = step, moved
        self._recorder: Recorder = recorder or CudaRecorder()
        self._recorded: dict[tuple[tuple[torch.Size, torch.dtype], ...], _Recorded] = {}

    def __call__(self, batch: PairBatch) -> Outcome:
        """As `step`; what it returned before keeps its values.

        Raises:
            ModelError: the step cannot be recorded.
        """
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in tensors(batch))
        if shapes not in self._recorded:
            self._recorded[shapes] = self._record(batch)
        recorded = self._recorded[shapes]
        for mine, theirs in zip(tensors(recorded.batch), tensors(batch), strict=True):
            mine.copy_(theirs)
        recorded.replay()
        found = recorded.outcome
        return Outcome({name: part.clone() for name, part in found.parts.items()}, found.norms.clone())

    def _record(self, batch: PairBatch) -> _Recorded:
        held = _copy(batch)
        before = [tensor.clone() for tensor in self._moved()]
        devices = [held.image_ids.device] if held.image_ids.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            self._recorder.warm_up(lambda: self._step(held), _WARM_UP)
        with torch.no_grad():
            after = self._moved()
            for tensor, value in zip(after, before, strict=False):
                tensor.copy_(value)
            for tensor in after[len(before) :]:
                tensor.zero_()
        try:
            outcome, replay = self._recorder.record(lambda: self._step(held))
        except RuntimeError as error:
            raise ModelError(
                f"A step of this training cannot be recorded as a CUDA graph ({str(error).splitlines()[0]}). "
                "Set train.step: eager or compiled in params.yaml."
            ) from error
        return _Recorded(held, outcome, replay)


def tensors(batch: PairBatch) -> list[Tensor]:
    """Every tensor of a batch, in a fixed order."""
    found = [batch.images.cls, batch.images.local, batch.texts.tokens, batch.image_ids, batch.text_ids]
    return found if batch.texts.mask is None else [*found, batch.texts.mask]


def _copy(batch: PairBatch) -> PairBatch:
    mask = batch.texts.mask
    return PairBatch(
        ImageInput(batch.images.cls.clone(), batch.images.local.clone()),
        TextInput(batch.texts.tokens.clone(), None if mask is None else mask.clone()),
        batch.image_ids.clone(),
        batch.text_ids.clone(),
    )
