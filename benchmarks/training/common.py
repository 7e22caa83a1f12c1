"""What the parts share: synthetic pairs in memory, updates on them, spreads, and figures from a process of its own."""

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch

from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.losses.objective import Objective
from pipeline.alignment.training.initial_head import initial_head
from pipeline.alignment.training.members import Member
from pipeline.alignment.training.update import Updater
from pipeline.config import FreezeAlignHead, InfoNCELoss, LocalTokens, TrainedHead, TrainParams

CPU = torch.device("cpu")
WIDTH = 384


def spec(embed_dim: int = WIDTH, local_tokens: LocalTokens = "mean", **loss: Any) -> FreezeAlignHead:
    """Freeze-Align's head with InfoNCE, whose keys are `loss`."""
    return FreezeAlignHead(
        kind="freeze-align", embed_dim=embed_dim, local_tokens=local_tokens, loss=InfoNCELoss(**loss)
    )


def noise(rows: int, width: int = WIDTH, tokens: int = 1) -> AlignmentData:
    """Pairs of noise in memory, float16: CLS, `tokens` local tokens, sentence embeddings. 64 are for validation too."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).half()

    features = ResidentFeatures(
        ImageInput(normal(rows, width), normal(rows, tokens, width)), TextInput.from_pooled(normal(rows, width)), CPU
    )
    pairs = torch.arange(rows)[:, None].repeat(1, 2)
    return AlignmentData(features, (pairs,), (pairs[:64],), {}, ("synthetic",))


def updater(data: AlignmentData, of: TrainedHead, params: Sequence[TrainParams]) -> Updater:
    """The trainer's own step, for one head or for several side by side."""
    heads = []
    for seed, own in enumerate(params):
        torch.manual_seed(seed)
        heads.append(initial_head(of, data, own, 0))
    members = [Member(str(seed), seed, own) for seed, own in enumerate(params)]
    made = Updater(heads, members, Objective(of.loss))
    made.train()
    return made


def gathered(data: AlignmentData, batch_size: int) -> list[PairBatch]:
    """The batches of an epoch as tensors in memory."""
    return list(data.features.epoch(data.train[0], batch_size, torch.Generator().manual_seed(0), 1))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, lowest, highest."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


class Watch:
    """Wall time and processor time of this process since it was made: the second stands what else a machine does."""

    def __init__(self) -> None:
        self._wall, self._busy = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Seconds of both."""
        return time.perf_counter() - self._wall, time.process_time() - self._busy


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """The result of a function in a fresh process, whose memory starts from nothing."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
