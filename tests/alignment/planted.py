"""Pairs with a planted relation, as features in memory or on disk, and the small head that learns it in a second."""

from pathlib import Path

import torch
from torch import Tensor

from pipeline.alignment.data.batches import AlignerFeatures
from pipeline.alignment.data.columns import image_columns, text_columns
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.data.streaming import StreamedFeatures
from pipeline.config import TrainParams
from pipeline.features import FeatureStore
from tests.alignment.specs import trained
from tests.features.stores import write_store

CPU = torch.device("cpu")
HEAD = trained(embed_dim=6)
PARAMS = TrainParams(epochs=6, min_steps=0, batch_size=16, warmup_steps=3, lr=5e-3, device="cpu")
TRAIN, PAIRS = 40, 60


def vectors(pairs: int = PAIRS) -> tuple[Tensor, Tensor]:
    """Float16 features (P, 8) of images and (P, 6) of texts."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(pairs, 4, generator=generator)
    return (z @ torch.randn(4, 8, generator=generator)).half(), (z @ torch.randn(4, 6, generator=generator)).half()


def planted(features: AlignerFeatures | None = None, pairs: int = PAIRS) -> AlignmentData:
    """40 pairs to train on, the others for validation; in memory, or as `features` has them."""
    image, text = vectors(pairs)
    held = ResidentFeatures(ImageInput(image, image[:, None].repeat(1, 3, 1)), TextInput.from_pooled(text), CPU)
    rows = torch.arange(pairs)[:, None].repeat(1, 2)
    return AlignmentData(features or held, (rows[:TRAIN],), (rows[TRAIN:],), {}, ("toy",))


def streamed(folder: Path) -> AlignmentData:
    """The same pairs in a store that is read as training goes, in windows of 16 pairs."""
    image, text = (value.numpy() for value in vectors())
    arrays = {"cls": image, "grid": image[:, None].repeat(3, axis=1), "pooled": text}
    store = FeatureStore.open(write_store(folder, arrays, 16))
    columns = image_columns([store], "grid"), text_columns([store])
    return planted(StreamedFeatures(*columns, CPU, block=4, memory=2 * 16 * (8 * 4 + 6) * 2))


def changed(**changes: object) -> TrainParams:
    """`PARAMS` with some of them otherwise, validated."""
    return TrainParams(**PARAMS.model_dump() | changes)
