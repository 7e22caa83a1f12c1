"""The loading modes against each other: on the device, in host memory, streamed."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from torch import Tensor

from pipeline.alignment.data import memory
from pipeline.alignment.data.batches import AlignerFeatures, PairBatch
from pipeline.alignment.data.columns import LastLayers, image_columns, text_columns
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData, load_alignment_data, report_mixing
from pipeline.alignment.data.memory import choose_mode, free_host_memory
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.data.streaming import StreamedFeatures, in_reading_order
from pipeline.alignment.training.trainer import train_repeat
from pipeline.alignment.validation import read_validation, validation_recall
from pipeline.config import FitSpec, TrainParams
from pipeline.features import FeatureStore
from pipeline.paths import store_folder
from tests.alignment.specs import fit_of, trained
from tests.alignment.toy import GRID, TEXT, VISION
from tests.features.stores import normal, write_store

CPU = torch.device("cpu")
FIT = fit_of()
NARROW = trained(embed_dim=6)
PARAMS = TrainParams(epochs=3, min_steps=0, batch_size=16, warmup_steps=3, lr=5e-3, device="cpu", shuffle_block=4)


def load(mode: str, fit: FitSpec = FIT) -> AlignmentData:
    return load_alignment_data("default", fit, 2, CPU, PARAMS.model_copy(update={"features": mode}))


def batches(data: AlignmentData, number: int = 1, seed: int = 0) -> list[PairBatch]:
    generator = torch.Generator().manual_seed(seed)
    return list(data.features.epoch(data.train[0], 16, generator, number))


def content(batch: PairBatch) -> list[tuple[bytes, ...]]:
    """Every pair of a batch as the bytes of its features."""
    columns = [*batch.images.tensors, batch.texts.tokens]
    return [tuple(column[i].numpy().tobytes() for column in columns) for i in range(len(batch))]


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("local_tokens", ["grid", "mean"])
def test_every_mode_serves_the_same_pairs(local_tokens: str) -> None:
    fit = fit_of(trained(local_tokens=local_tokens))
    served = {}
    for mode in ("device", "host", "stream"):
        data = load(mode, fit)
        served[mode] = sorted(pair for batch in batches(data) for pair in content(batch))
        assert {len(batch) for batch in batches(data)} <= {15, 16}
    assert len(served["stream"]) == len(load("device").train[0])
    assert served["device"] == served["host"] == served["stream"]


@pytest.mark.usefixtures("world")
def test_streamed_batches_name_equal_images_and_captions_equally() -> None:
    data = load("stream")
    image_of, text_of = {}, {}
    for batch in batches(data):
        for image, text, (cls, _, tokens) in zip(
            batch.image_ids.tolist(), batch.text_ids.tolist(), content(batch), strict=True
        ):
            assert image_of.setdefault(image, cls) == cls
            assert text_of.setdefault(text, tokens) == tokens
    assert len(set(image_of.values())) == len(image_of)
    assert len(set(text_of.values())) == len(text_of)


@pytest.mark.usefixtures("world")
def test_streamed_epochs_differ_and_equal_seeds_repeat_them() -> None:
    data = load("stream")

    def order(number: int, seed: int) -> list[int]:
        return [image for batch in batches(data, number, seed) for image in batch.image_ids.tolist()]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(number, seed)) for number in (1, 2) for seed in (0, 1)}) == 4


def weights(data: AlignmentData, seed: int = 0) -> dict[str, Tensor]:
    return train_repeat(data, PARAMS, spec=NARROW, repeat=0, seed=seed, on_epoch=lambda _: None).head.state_dict()


@pytest.mark.usefixtures("world")
def test_host_memory_gives_the_weights_of_the_device_and_a_stream_repeats_its_own() -> None:
    device, host, first, again = (weights(load(mode)) for mode in ("device", "host", "stream", "stream"))
    for name, value in device.items():
        assert torch.equal(value, host[name]), name
        assert torch.equal(first[name], again[name]), name
    assert not torch.equal(device["vision_cls.linear.weight"], first["vision_cls.linear.weight"])


@pytest.mark.usefixtures("world")
def test_every_mode_has_the_same_validation_set() -> None:
    head = train_repeat(load("device"), PARAMS, spec=NARROW, repeat=1, seed=0, on_epoch=lambda _: None).head
    for largest in (8192, 7):
        recalls = {
            mode: validation_recall(head, read_validation(load(mode), 1, largest))
            for mode in ("device", "host", "stream")
        }
        assert len(set(recalls.values())) == 1


@pytest.mark.usefixtures("world")
def test_a_large_validation_split_is_thinned_evenly_with_all_captions(caplog: pytest.LogCaptureFixture) -> None:
    data = load("device")
    whole = read_validation(data, 0)
    with caplog.at_level(logging.WARNING):
        few = read_validation(data, 0, largest=4)
    assert f"has {len(whole.images)} images; epochs are chosen on 4 of them" in caplog.text
    kept = [len(whole.images) * i // 4 for i in range(4)]
    assert torch.equal(few.images.cls, whole.images.cls[kept])
    assert few.positives_NM.sum() == whole.positives_NM[kept].sum()
    assert few.positives_NM.any(dim=0).all()


@pytest.mark.usefixtures("world")
def test_pairs_are_streamed_in_the_order_of_the_image_stores() -> None:
    images = load("stream").train[0][:, 0]
    assert (images.diff() >= 0).all()
    emoji = len(FeatureStore.open(store_folder("pairs", "vit", "emoji")))
    assert ((images < emoji).any(), (images >= emoji).any()) == (True, True)
    mixed = torch.tensor([[3, 1], [0, 2], [3, 0], [1, 1]])
    assert in_reading_order(mixed).tolist() == [[0, 2], [1, 1], [3, 0], [3, 1]]


def test_batches_for_another_device_are_gathered_ahead_with_the_same_rows() -> None:
    images, texts, *_ = sorted_store(0)
    here = ResidentFeatures(images, TextInput(texts.tokens, torch.ones(len(texts), 1).bool()), CPU)
    pairs = torch.randint(0, len(images), (50, 2), generator=torch.Generator().manual_seed(0))
    collected, read = here._collect(pairs), here._read(pairs)
    for name in ("cls", "local"):
        assert torch.equal(getattr(collected.images, name), getattr(read.images, name))
    assert torch.equal(collected.texts.tokens, read.texts.tokens)
    assert collected.texts.mask is not None
    assert collected.texts.mask.all()
    assert torch.equal(collected.image_ids, pairs[:, 0])
    assert torch.equal(collected.text_ids, pairs[:, 1])
    away = ResidentFeatures(images, texts, torch.device("meta"))  # a device without memory of its own
    sent = list(away.epoch(pairs, 16, torch.Generator(), 1))
    assert [len(batch) for batch in sent] == [13, 13, 12, 12]
    assert {batch.texts.tokens.device.type for batch in sent} == {"meta"}


def test_inputs_are_mapped_tensor_by_tensor_and_masks_are_no_features() -> None:
    images = ImageInput(torch.randn(4, 3), torch.randn(4, 2, 3))
    texts = TextInput(torch.randn(4, 5, 3), torch.ones(4, 5).bool())
    assert [(len(side), side.width, side.device) for side in (images, texts)] == [(4, 3, CPU)] * 2
    batch = PairBatch(images, texts, torch.arange(4), torch.arange(4))
    assert [tensor.shape for tensor in batch.map(lambda x: x[:2]).tensors] == [(2, *x.shape[1:]) for x in batch.tensors]
    doubled = batch.map_features(lambda x: 2 * x)
    assert torch.equal(doubled.images.local, 2 * images.local)
    assert torch.equal(doubled.texts.tokens, 2 * texts.tokens)
    assert doubled.texts.mask is texts.mask
    assert doubled.image_ids is batch.image_ids
    assert TextInput.from_pooled(images.cls).take(torch.tensor([1])).mask is None


def test_the_last_of_several_layers(tmp_path: Path) -> None:
    values = normal(300, 3, 700)  # a megabyte is 249 rows, so that pieces have a border
    store = FeatureStore.open(write_store(tmp_path, {"cls": values}, 128))
    column = LastLayers(store.array("cls"), 1)
    rows = np.random.default_rng(0).integers(0, 300, 280)
    out = np.empty((280, 700), np.float16)
    assert column.shape == (300, 700)
    np.testing.assert_array_equal(column.take(rows, out=out), values[rows, -1])
    np.testing.assert_array_equal(column.take(rows), out)
    np.testing.assert_array_equal(column.read_range(5, 295), values[5:295, -1])
    store = FeatureStore.open(write_store(tmp_path / "pooled", {"cls": values[:, 0], "grid": values}, 128))
    np.testing.assert_array_equal(image_columns([store], "grid").arrays[0].take(rows), values[rows, 0])


def fake_memory(monkeypatch: pytest.MonkeyPatch, device: int, host: int) -> None:
    monkeypatch.setattr(memory, "free_device_memory", lambda _: device)
    monkeypatch.setattr(memory, "free_host_memory", lambda: host)


@pytest.mark.parametrize(
    ("needed", "expected"), [(50, "device"), (51, "host"), (100, "host"), (101, "stream"), (0, "device")]
)
def test_auto_takes_the_nearest_memory_of_which_half_suffices(
    needed: int, expected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fake_memory(monkeypatch, device=100, host=200)
    with caplog.at_level(logging.INFO):
        assert choose_mode("auto", needed, CPU) == expected
    assert f"Features: {expected} (chosen by what is free, of which 50% may be taken)" in caplog.text
    assert choose_mode("stream", needed, CPU) == "stream"
    with pytest.raises(ValueError, match="found 'disk'"):
        choose_mode("disk", needed, CPU)


@pytest.mark.usefixtures("world")
def test_auto_streams_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(load("auto").features, ResidentFeatures)
    fake_memory(monkeypatch, device=1000, host=1000)
    assert isinstance(load("auto").features, StreamedFeatures)


@pytest.mark.usefixtures("world")
def test_windows_of_few_blocks_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    pair_bytes = (VISION * (1 + GRID) + TEXT) * 2
    features = load("stream").features
    assert isinstance(features, StreamedFeatures)
    train = load("device").train
    for blocks, warned in ((15, True), (16, False)):
        columns = features.images.columns, features.texts.columns
        few = StreamedFeatures(*columns, CPU, block=2, memory=2 * 2 * blocks * pair_bytes)
        assert few.shuffle(train[0]).window_rows == 2 * blocks < len(train[0])
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            report_mixing(few, train)
        assert ("Raise train.shuffle_buffer_mb" in caplog.text) == warned


def group_of(folder: Path, limit: str, used: int, dropped: str = "inactive_file 80") -> None:
    first = dropped.startswith("total")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ("memory.limit_in_bytes" if first else "memory.max")).write_text(f"{limit}\n")
    (folder / ("memory.usage_in_bytes" if first else "memory.current")).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 600\n{dropped}\n")


def test_a_control_group_limits_the_host(tmp_path: Path) -> None:
    available = psutil.virtual_memory().available
    own = tmp_path / "own"
    assert free_host_memory(tmp_path, own) == pytest.approx(available, rel=0.5)
    group_of(tmp_path, "max", 700)
    assert free_host_memory(tmp_path, own) == pytest.approx(available, rel=0.5)
    group_of(tmp_path, "1000", 700)
    assert free_host_memory(tmp_path, own) == 380
    group_of(tmp_path, "500", 700)
    assert free_host_memory(tmp_path, own) == 0


def test_the_group_of_a_job_limits_the_host(tmp_path: Path) -> None:
    """As SLURM makes one for each job, in which the process is and not its parents alone."""
    available = psutil.virtual_memory().available
    own = tmp_path / "own"
    group_of(tmp_path / "slurm/job_7/step_0", "max", 100)
    group_of(tmp_path / "slurm/job_7", "1000", 300)
    group_of(tmp_path / "slurm/job_8", "200", 100)
    own.write_text("0::/slurm/job_7/step_0\n")
    assert free_host_memory(tmp_path, own) == 780
    own.write_text("0::/another\n")
    assert free_host_memory(tmp_path, own) == pytest.approx(available, rel=0.5)
    group_of(tmp_path / "memory/slurm/job_9", "900", 300, "total_inactive_file 50")
    own.write_text("12:cpu,cpuacct:/elsewhere\n4:memory:/slurm/job_9\n0::/\n")
    assert free_host_memory(tmp_path, own) == 650


def sorted_store(seed: int, classes: int = 12, each: int = 60) -> tuple[ImageInput, TextInput, np.ndarray, np.ndarray]:
    """Pictures sorted by class, a caption for each; image and caption share a hidden vector near that of the class."""
    rng = np.random.default_rng(seed)
    centre = np.repeat(rng.normal(size=(classes, 6)), each, axis=0)
    hidden = centre + 0.5 * rng.normal(size=centre.shape)
    image = (hidden @ rng.normal(size=(6, 24)) + 0.3 * rng.normal(size=(len(hidden), 24))).astype(np.float16)
    text = (hidden @ rng.normal(size=(6, 16)) + 0.3 * rng.normal(size=(len(hidden), 16))).astype(np.float16)
    inputs = ImageInput(torch.from_numpy(image), torch.from_numpy(image[:, None]))
    return inputs, TextInput(torch.from_numpy(text[:, None])), image, text


class Unshuffled(ResidentFeatures):
    """Batches in the order of the store: what a shuffle is for."""

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        del generator, number, skip
        for part in torch.tensor_split(pairs, math.ceil(len(pairs) / batch_size)):
            yield PairBatch(self.images.read(part[:, 0]), self.texts.read(part[:, 1]), part[:, 0], part[:, 1])


def score(features: AlignerFeatures, pairs: Tensor, validation: Tensor, seed: int) -> float:
    data = AlignmentData(features, (pairs,), (validation,), {}, ("toy",))
    params = TrainParams(epochs=6, min_steps=0, batch_size=48, warmup_steps=5, lr=3e-3, device="cpu")
    wide = trained(embed_dim=16)
    result = train_repeat(data, params, spec=wide, repeat=0, seed=seed, on_epoch=lambda _: None)
    return result.history[-1].val_recall


def test_a_label_sorted_store_is_learnt_through_the_stream_as_in_full_permutation(tmp_path: Path) -> None:
    images, texts, image, text = sorted_store(0)
    store = FeatureStore.open(write_store(tmp_path, {"cls": image, "grid": image[:, None], "pooled": text}, 64))
    columns = image_columns([store], "grid"), text_columns([store])
    row_bytes = (24 + 24 + 16) * 2
    streamed = StreamedFeatures(*columns, CPU, block=8, memory=2 * 12 * 8 * row_bytes)  # a window is 96 of 480 pairs
    held_out = torch.arange(len(image)) % 3 == 0
    rows = torch.arange(len(image))[:, None].repeat(1, 2)
    train, validation = rows[~held_out], rows[held_out]
    assert streamed.shuffle(train).window_rows == 96
    permuted, mixed, unshuffled = (
        [score(features, train, validation, seed) for seed in range(4)]
        for features in (ResidentFeatures(images, texts, CPU), streamed, Unshuffled(images, texts, CPU))
    )
    assert min(permuted) - np.std(permuted) <= np.mean(mixed) <= max(permuted) + np.std(permuted)
    assert np.mean(unshuffled) < min(permuted) - np.std(permuted)
