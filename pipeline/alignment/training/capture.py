"""A training step as a CUDA graph: recorded once per batch size, then replayed without running any Python."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.training.records import StepMetrics
from pipeline.errors import ModelError

_WARM_UP = 3  # runs before the recording, in which libraries choose their kernels

Step = Callable[[PairBatch], StepMetrics]


class Recorder(Protocol):
    """Records what a function does on the device, and replays it."""

    def warm_up(self, function: Callable[[], StepMetrics], runs: int) -> None:
        """Run the function, separated from the current work of the device."""

    def record(self, function: Callable[[], StepMetrics]) -> tuple[StepMetrics, Callable[[], None]]:
        """The metrics into which a replay writes, and the replay."""


class CudaRecorder:
    """Graphs of one memory pool, after PyTorch's notes on CUDA graphs (whole-network capture)."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def warm_up(self, function: Callable[[], StepMetrics], runs: int) -> None:
        """Run the function on a separate stream."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(runs):
                function()
        torch.cuda.current_stream().wait_stream(stream)

    def record(self, function: Callable[[], StepMetrics]) -> tuple[StepMetrics, Callable[[], None]]:
        """Record one run, which computes nothing yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            metrics = function()
        return metrics, graph.replay


@dataclass(frozen=True)
class _Recording:
    """Inputs and outputs of a recorded step, in memory that stays in place, and the replay."""

    batch: PairBatch
    metrics: StepMetrics
    replay: Callable[[], None]


class CapturedStep:
    """`step`, recorded at the first batch of each shape.

    Args:
        step: depends on the tensors of the batch alone, and reads nothing back from the device.
        state: the tensors that `step` changes in place, which the warm-up must leave as they were. Tensors that the
            warm-up creates are set to zero, the initial value of AdamW's.
        recorder: by default a `CudaRecorder`.
    """

    def __init__(self, step: Step, state: Callable[[], Sequence[Tensor]], recorder: Recorder | None = None) -> None:
        self._step, self._state = step, state
        self._recorder: Recorder = recorder or CudaRecorder()
        self._recordings: dict[tuple[tuple[torch.Size, torch.dtype], ...], _Recording] = {}

    def __call__(self, batch: PairBatch) -> StepMetrics:
        """As `step`. Later calls do not overwrite the metrics returned.

        Raises:
            ModelError: the step cannot be recorded.
        """
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in batch.tensors)
        if shapes not in self._recordings:
            self._recordings[shapes] = self._record(batch)
        recording = self._recordings[shapes]
        for target, source in zip(recording.batch.tensors, batch.tensors, strict=True):
            target.copy_(source)
        recording.replay()
        metrics = recording.metrics
        return StepMetrics({name: part.clone() for name, part in metrics.parts.items()}, metrics.norms.clone())

    def _record(self, batch: PairBatch) -> _Recording:
        batch = batch.map(torch.clone)
        before = [tensor.clone() for tensor in self._state()]
        devices = [batch.image_ids.device] if batch.image_ids.is_cuda else []
        with torch.random.fork_rng(devices=devices):
            self._recorder.warm_up(lambda: self._step(batch), _WARM_UP)
        with torch.no_grad():
            after = self._state()
            for tensor, value in zip(after, before, strict=False):
                tensor.copy_(value)
            for tensor in after[len(before) :]:
                tensor.zero_()
        try:
            metrics, replay = self._recorder.record(lambda: self._step(batch))
        except RuntimeError as error:
            raise ModelError(
                f"A step of this training cannot be recorded as a CUDA graph ({str(error).splitlines()[0]}). "
                "Set train.step: eager or compiled in params.yaml."
            ) from error
        return _Recording(batch, metrics, replay)
