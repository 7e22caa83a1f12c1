"""Training from features on the device, in host memory, and streamed: speed, quality, memory.

    python benchmarks/stream.py [--device cuda] [--small]

Three tables, from synthetic stores in a temporary folder, and benchmarks/results/stream.json:

- samples per second of every loading mode, of loading alone and of training, the modes by turns in one run;
- validation R@1 of an aligner trained on a store sorted by label: full permutation, streamed with windows of several
  sizes, and in the order of the store, each with the same seeds;
- the peak by which a streamed epoch raises anonymous memory, at three store sizes, each in a process of its own.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.accounting.machine import describe_machine
from pipeline.alignment.data.batches import AlignerFeatures, PairBatch
from pipeline.alignment.data.columns import image_columns, text_columns
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.data.streaming import StreamedFeatures
from pipeline.alignment.training.trainer import train_repeat
from pipeline.config import FreezeAlignHead, TrainParams
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.publish import publish
from pipeline.features.shards import ShardWriter
from tests.features.anonymous import watched

OUT = Path(__file__).resolve().parent / "results" / "stream.json"
WIDTH, REGIONS, SHARD_ROWS = 384, 4, 16384
IMAGE_BYTES, TEXT_BYTES = (1 + REGIONS) * WIDTH * 2, WIDTH * 2
PAIR_BYTES = IMAGE_BYTES + TEXT_BYTES
BATCH, BLOCK = 1024, 128
HEAD = FreezeAlignHead(kind="freeze-align", embed_dim=WIDTH)


def write(folder: Path, rows: int, make: Callable[[int, int], dict[str, np.ndarray]]) -> FeatureStore:
    """A store of `rows` rows, made shard by shard by `make(start, stop)`."""
    shards, specs = [], []
    for start in range(0, rows, SHARD_ROWS):
        stop = min(rows, start + SHARD_ROWS)
        ids, values = [f"id{row}" for row in range(start, stop)], make(start, stop)
        specs = [ArraySpec(name, array.shape[1:], array.dtype.name) for name, array in values.items()]
        with ShardWriter(folder / "scratch", specs, ids, SHARD_ROWS) as writer:
            writer.append(values, [None] * len(ids))
            shards.append(writer.finish())
    publish(folder / "store", Fingerprint({"rows": rows}), specs, shards, SHARD_ROWS, {})
    return FeatureStore.open(folder / "store")


def noise_stores(folder: Path, rows: int) -> tuple[FeatureStore, FeatureStore]:
    """An image store and a text store of noise."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32).astype(np.float16)

    images = write(
        folder / "images",
        rows,
        lambda start, stop: {"cls": normal(stop - start, WIDTH), "grid": normal(stop - start, REGIONS, WIDTH)},
    )
    return images, write(folder / "texts", rows, lambda start, stop: {"pooled": normal(stop - start, WIDTH)})


def sorted_stores(folder: Path, classes: int, each: int) -> tuple[FeatureStore, FeatureStore]:
    """Pairs sorted by class: image and caption are linear images of one hidden vector near that of their class."""
    rng = np.random.default_rng(1)
    hidden = np.repeat(rng.normal(size=(classes, 16)), each, axis=0)
    hidden += 0.3 * rng.normal(size=hidden.shape)
    exact = hidden @ rng.normal(size=(16, 32)) + 1.5 * rng.normal(size=(len(hidden), 32))
    grid = (exact[:, None] + 0.5 * rng.normal(size=(len(hidden), REGIONS, 32))).astype(np.float16)
    text = (hidden @ rng.normal(size=(16, 24)) + 1.5 * rng.normal(size=(len(hidden), 24))).astype(np.float16)
    image = exact.astype(np.float16)
    images = write(folder / "images", len(image), lambda a, b: {"cls": image[a:b], "grid": grid[a:b]})
    return images, write(folder / "texts", len(text), lambda a, b: {"pooled": text[a:b]})


def resident(images: FeatureStore, texts: FeatureStore, place: torch.device, device: torch.device) -> ResidentFeatures:
    """All rows of both stores on `place`."""
    image_inputs = image_columns([images], "grid").take(np.arange(len(images)))
    text_inputs = text_columns([texts]).take(np.arange(len(texts)))
    return ResidentFeatures(image_inputs.to(place), text_inputs.to(place), device)


def streamed(
    images: FeatureStore, texts: FeatureStore, device: torch.device, block: int, memory: int
) -> StreamedFeatures:
    """Both stores, read as training goes."""
    return StreamedFeatures(image_columns([images], "grid"), text_columns([texts]), device, block, memory)


def finished(device: torch.device) -> float:
    """The time once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def loading_rate(features: AlignerFeatures, pairs: Tensor) -> float:
    """Pairs per second of an epoch in which every batch comes to the device, and one value of each row is looked at."""
    started = finished(features.device)
    for batch in features.epoch(pairs, BATCH, torch.Generator().manual_seed(0), 1):
        batch.images.local[:, 0, 0].sum()
        batch.texts.tokens[:, 0, 0].sum()
    return len(pairs) / (finished(features.device) - started)


def training_rate(features: AlignerFeatures, pairs: Tensor) -> float:
    """Pairs per second of an epoch of training at width 384."""
    data = AlignmentData(features, (pairs,), (pairs[:64],), {}, ("synthetic",))
    params = TrainParams(epochs=1, min_steps=0, batch_size=BATCH, device=str(features.device))
    result = train_repeat(data, params, spec=HEAD, repeat=0, seed=0, on_epoch=lambda _: None)
    return result.history[0].samples_per_second


def speed(folder: Path, rows: int, trained: int, runs: int, device: torch.device) -> list[dict[str, Any]]:
    """Rates of every mode: the median of `runs`, the modes by turns, after one warm-up; and the range."""
    images, texts = noise_stores(folder, rows)
    pairs = torch.arange(rows)[:, None].repeat(1, 2)
    modes: dict[str, AlignerFeatures] = {"device": resident(images, texts, device, device)}
    if device.type != "cpu":
        modes["host"] = resident(images, texts, torch.device("cpu"), device)
    modes["stream"] = streamed(images, texts, device, BLOCK, 256 * 10**6)
    rates: dict[str, dict[str, list[float]]] = {mode: {"loading": [], "training": []} for mode in modes}
    for run in range(runs + 1):
        for mode, features in modes.items():
            found = loading_rate(features, pairs), training_rate(features, pairs[:trained].to(pairs.device))
            if run:
                rates[mode]["loading"].append(found[0])
                rates[mode]["training"].append(found[1])
    rows_out = []
    for mode, of in rates.items():
        row: dict[str, Any] = {"mode": mode}
        for what, values in of.items():
            row[what] = {"median": statistics.median(values), "low": min(values), "high": max(values)}
        row["gigabytes_per_second"] = row["loading"]["median"] * PAIR_BYTES / 1e9
        row["training_to_device"] = row["training"]["median"] / statistics.median(rates["device"]["training"])
        rows_out.append(row)
    return rows_out


class InStoreOrder(ResidentFeatures):
    """No shuffle at all."""

    def epoch(
        self, pairs: Tensor, batch_size: int, generator: torch.Generator, number: int, skip: int = 0
    ) -> Iterator[PairBatch]:
        """As `AlignerFeatures.epoch`, in the order of `pairs`."""
        del generator, number, skip
        for part in torch.tensor_split(pairs, math.ceil(len(pairs) / batch_size)):
            yield PairBatch(self.images.read(part[:, 0]), self.texts.read(part[:, 1]), part[:, 0], part[:, 1])


def quality(folder: Path, classes: int, each: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """R@1 on held-out pairs after the last epoch, per shuffle: mean and standard deviation over seeds."""
    device = torch.device("cpu")
    images, texts = sorted_stores(folder, classes, each)
    held = resident(images, texts, device, device)
    rows = torch.arange(len(images))[:, None].repeat(1, 2)
    held_out = torch.arange(len(images)) % 8 == 0
    train, pair_bytes, block = rows[~held_out], (32 * (1 + REGIONS) + 24) * 2, 16
    shuffles: dict[str, AlignerFeatures] = {"full permutation": held}
    for parts in (4, 16, 64):
        window = len(train) // parts // block * block
        shuffles[f"streamed, window of 1/{parts}"] = streamed(images, texts, device, block, 2 * window * pair_bytes)
    shuffles["in the order of the store"] = InStoreOrder(held.images.inputs, held.texts.inputs, device)
    params = TrainParams(epochs=4, min_steps=0, batch_size=128, lr=2e-3, device="cpu")
    narrow = HEAD.model_copy(update={"embed_dim": 32})
    table = []
    for name, features in shuffles.items():
        data = AlignmentData(features, (train,), (rows[held_out],), {}, ("synthetic",))
        scores = [
            train_repeat(data, params, spec=narrow, repeat=0, seed=seed, on_epoch=lambda _: None).history[-1].val_recall
            for seed in seeds
        ]
        window_rows = features.shuffle(train).window_rows if isinstance(features, StreamedFeatures) else None
        row: dict[str, Any] = {"shuffle": name, "window_rows": window_rows, "pairs": len(train), "classes": classes}
        row |= {"mean": statistics.fmean(scores), "sd": statistics.stdev(scores), "scores": scores}
        table.append(row)
    return table


def peak(folder: Path, allowance: int) -> dict[str, float]:
    """By how many bytes streaming an epoch raises anonymous memory at most, and how many pairs came."""
    images, texts = FeatureStore.open(folder / "images" / "store"), FeatureStore.open(folder / "texts" / "store")
    features = streamed(images, texts, torch.device("cpu"), BLOCK, allowance)
    pairs = torch.arange(len(images))[:, None].repeat(1, 2)
    with watched() as risen:
        count = sum(len(batch) for batch in features.epoch(pairs, BATCH, torch.Generator(), 1))
    return {"pairs": count, "peak_bytes": max(risen)}


def memory(folder: Path, allowance: int) -> list[dict[str, Any]]:
    """The peak at stores of 1, 2 and 4 times the allowance."""
    table = []
    for times in (1, 2, 4):
        rows = times * allowance // PAIR_BYTES
        noise_stores(folder / str(times), rows)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            found = pool.submit(peak, folder / str(times), allowance).result()
        table.append({"store_bytes": rows * PAIR_BYTES, "allowance_bytes": allowance, **found})
    return table


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--small", action="store_true", help="a quick check of the script; writes nothing")
    arguments = parser.parse_args()
    device = torch.empty(0, device=arguments.device).device
    small = arguments.small
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows, trained, runs = (8_000, 4_000, 1) if small else (200_000, 20_000, 3)
        rates = speed(folder / "speed", rows, trained, runs, device)
        scores = quality(folder / "quality", *((8, 64) if small else (64, 128)), range(2 if small else 7))
        peaks = memory(folder / "memory", (4 if small else 128) * 10**6)
    print(f"{rows} pairs of {PAIR_BYTES} bytes on {device}; batches of {BATCH}; warm page cache")
    for row in rates:
        loading, training = row["loading"], row["training"]
        print(
            f"  {row['mode']:7} loading {loading['median']:10,.0f} pairs/s ({loading['low']:,.0f} to "
            f"{loading['high']:,.0f}), {row['gigabytes_per_second']:5.2f} GB/s; training {training['median']:8,.0f} "
            f"pairs/s ({training['low']:,.0f} to {training['high']:,.0f}), {row['training_to_device']:.2f} of device"
        )
    first = scores[0]
    print(f"{first['pairs']} pairs sorted by {first['classes']} classes; R@1 over {len(first['scores'])} seeds")
    for row in scores:
        print(f"  {row['shuffle']:28} {row['mean']:.4f} +- {row['sd']:.4f}")
    print("peak of anonymous memory, one streamed epoch")
    for row in peaks:
        print(
            f"  store {row['store_bytes'] / 1e6:6.0f} MB, windows may take {row['allowance_bytes'] / 1e6:.0f} MB: "
            f"{row['peak_bytes'] / 1e6:.0f} MB"
        )
    if not small:
        OUT.parent.mkdir(parents=True, exist_ok=True)
        found = {"machine": describe_machine(), "pair_bytes": PAIR_BYTES, "batch_size": BATCH, "block": BLOCK}
        found |= {"pairs": rows, "device": str(device), "speed": rates, "quality": scores, "memory": peaks}
        OUT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
