"""Trainings that one process and several must agree on, and the program that each of several runs:

python -m tests.alignment.together FOLDER CASE...
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.alignment.data.batches import AlignerFeatures
from pipeline.alignment.data.columns import image_columns, text_columns
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData, Fusion
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.data.shared import SharedFeatures
from pipeline.alignment.data.streaming import StreamedFeatures
from pipeline.alignment.fusion import input_maps, through
from pipeline.alignment.processes import ALONE, Processes, joined
from pipeline.alignment.training.members import members_of
from pipeline.alignment.training.records import EpochRecord
from pipeline.alignment.training.resume import Checkpoint
from pipeline.alignment.training.trainer import train_members
from pipeline.config import FusedView, TrainParams
from pipeline.failures import reported
from pipeline.features import FeatureStore
from pipeline.launched import launched
from tests.alignment.specs import trained
from tests.features.stores import write_store

CPU = torch.device("cpu")
IMAGES, TRAIN, PARTS, IMAGE_WIDTH, TEXT_WIDTH = 36, 24, 3, 8, 6
PARAMS: dict[str, Any] = {
    "epochs": 5,
    "min_steps": 0,
    "batch_size": 17,
    "warmup_steps": 1,
    "lr": 3e-3,
    "dropout": 0.2,
    "device": "cpu",
}


@dataclass(frozen=True)
class Case:
    """A head with its loss, what it changes of the parameters, where its features lie, and how far rounding reaches."""

    kind: str = "linear"
    head: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    mode: str = "resident"
    fused: bool = False
    close: float = 1e-5


CASES = {
    "own": Case(loss={"positives": "own"}),
    "pairs": Case(loss={"positives": "pairs"}),
    "concept": Case(loss={"positives": "concept"}),
    "blocks": Case(loss={"chunk_rows": 3}),
    "sigmoid": Case(loss={"kind": "sigmoid", "bias": -2.0}),
    "sigmoid-batch": Case(loss={"kind": "sigmoid", "normalise": "batch", "bias": -2.0, "chunk_rows": 4}),
    "structure": Case(loss={"structure": {"weight": 2.0}}),
    "structure-levels": Case(loss={"structure": {"weight": 2.0, "levels": 3}}),
    "patch-text": Case("freeze-align", loss={"patch_text": 0.5}),
    "mixup": Case(loss={"mixup": 0.5}),
    "noise": Case("freeze-align", loss={"noise": 0.2}),
    "every-term": Case(
        "freeze-align",
        loss={"patch_text": 0.5, "structure": {"levels": 2}, "mixup": 0.5, "noise": 0.1, "chunk_rows": 4},
    ),
    "sigmoid-terms": Case(loss={"kind": "sigmoid", "bias": -2.0, "structure": {}, "mixup": 1.0, "noise": 0.1}),
    "freeze-align": Case("freeze-align"),
    "freeze-align-cls": Case("freeze-align", {"local_tokens": "none"}),
    "mlp": Case("mlp", {"image_input": "concat"}),
    "gated-unit": Case("gated-unit", {"image_input": "sum"}),
    "inverted-bottleneck": Case("inverted-bottleneck"),
    "gated-low-rank": Case("gated-low-rank"),
    "whitened": Case("freeze-align", {"whitening": {"shrink": 0.2}}),
    "started": Case("linear", {"init": "cca", "embed_dim": 4}),
    "averaged": Case("freeze-align", params={"ema": 0.7, "validate_every": 2, "patience": 4, "grad_clip": 0.1}),
    "bfloat16": Case("mlp", params={"precision": "bfloat16"}, close=2e-2),
    "fused": Case("freeze-align", fused=True),
    "fused-streamed": Case("freeze-align", fused=True, mode="streamed"),
    "shared": Case("freeze-align", mode="shared"),
    "streamed": Case("freeze-align", mode="streamed", params={"epochs": 6}),
}


def vectors() -> tuple[Tensor, Tensor]:
    """Float16 features (N, 3, 8) of the local tokens of images, and (2 N, 6) of two captions of each."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(IMAGES, 4, generator=draw)
    image = (z @ torch.randn(4, IMAGE_WIDTH, generator=draw))[:, None] + 0.3 * torch.randn(
        IMAGES, PARTS, IMAGE_WIDTH, generator=draw
    )
    text = (z @ torch.randn(4, TEXT_WIDTH, generator=draw)).repeat(2, 1)
    return image.half(), (text + 0.3 * torch.randn(2 * IMAGES, TEXT_WIDTH, generator=draw)).half()


def data_of(mode: str, folder: Path, processes: Processes = ALONE) -> AlignmentData:
    """Images with two captions each, of which every third image shares one with its neighbour."""
    local, text = vectors()
    cls = local[:, 0].contiguous()
    features: AlignerFeatures
    if mode == "resident":
        features = ResidentFeatures(ImageInput(cls, local), TextInput.from_pooled(text), CPU, processes)
    else:
        stacked = {"cls": cls.repeat(2, 1), "grid": local.repeat(2, 1, 1), "pooled": text}
        arrays = {name: value.numpy() for name, value in stacked.items()}
        store = FeatureStore.open(write_store(folder / f"{mode}-{processes.rank}-of-{processes.count}", arrays, 16))
        columns = image_columns([store], "grid"), text_columns([store])
        rows = torch.arange(2 * IMAGES).numpy()
        features = (
            SharedFeatures(*columns, rows[:IMAGES], rows, CPU, processes)
            if mode == "shared"
            else StreamedFeatures(
                *columns, CPU, block=4, memory=2 * 12 * (4 * IMAGE_WIDTH + TEXT_WIDTH) * 2, processes=processes
            )
        )
    images = torch.arange(IMAGES)
    pairs = torch.cat([torch.stack([images, images], 1), torch.stack([images, images + IMAGES], 1)])
    neighbours = torch.stack([images[:TRAIN:3], images[:TRAIN:3] + 1], 1)
    inside = pairs[:, 0] < TRAIN
    train = torch.cat([pairs[inside], neighbours])
    return AlignmentData(features, (train,), (pairs[~inside],), {}, ("toy",), concepts=images // 2, processes=processes)


def train(
    case: Case, folder: Path, processes: Processes = ALONE, checkpoint: Checkpoint | None = None
) -> dict[str, Any]:
    """The curve and the weights of a case."""
    records: list[EpochRecord] = []
    spec = trained(case.kind, **{"embed_dim": 5, **case.head, "loss": dict(case.loss)})
    params = TrainParams(**PARAMS | dict(case.params))
    data = data_of(case.mode, folder, processes)
    if case.fused:
        data = replace(data, fusions={"image": Fusion(FusedView(concat=("one", "two"), scale="whiten"), (5, 3))})
    (result,) = train_members(
        through(data, input_maps(data, 0)),
        members_of(params, 0, 1, 0),
        spec=spec,
        repeat=0,
        seed=0,
        on_record=lambda _, record: records.append(record),
        checkpoint=checkpoint,
    )
    timeless = [{**record.row(), "samples_per_second": 0.0} for record in records]
    return {"curve": timeless, "weights": dict(result.head.state_dict()), "samples": result.samples_seen}


def main(folder: Path, names: Sequence[str]) -> None:
    """Train cases one after the other, and keep what comes out of each."""
    torch.set_num_threads(1)
    with joined(launched(), CPU) as processes:
        for name in names:
            torch.save(train(CASES[name], folder, processes), folder / f"{name}.{processes.rank}.pt")


if __name__ == "__main__":
    with reported("together"):
        main(Path(sys.argv[1]), sys.argv[2:])
