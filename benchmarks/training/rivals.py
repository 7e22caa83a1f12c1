"""(b) 30 epochs from the cache, SAIL's way and the reference's way: the same head, loss, pairs and batches.

SAIL's way: features as numbered .pt files of 1,024 rows, all of them loaded into lists in memory, a DataLoader without
workers. The reference's way: no cache; every epoch decodes every picture and runs both encoders. It is measured on a
subset for one epoch and scaled by pairs and epochs, without the augmentation that the reference also computes.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.stream import write
from benchmarks.training.common import CPU, WIDTH, apart, spec, updater
from pipeline.alignment.data.batches import PairBatch
from pipeline.alignment.data.columns import image_columns, text_columns
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.training.schedule import learning_rate
from pipeline.alignment.training.trainer import train_repeat
from pipeline.alignment.training.update import Updater
from pipeline.config import TrainParams, load_config
from pipeline.encoding.load import image_rows, text_rows
from pipeline.encoding.plan import image_plan, text_plan
from pipeline.features import FeatureStore
from pipeline.paths import checkpoint_folder, index_folder
from tests.features.anonymous import anonymous, watched

EPOCHS, FILE_ROWS = 30, 1024
PARAMS = TrainParams(epochs=EPOCHS, batch_size=1024, device="cpu", checkpoint_seconds=0.0)


def _took(started: float, peak: int) -> dict[str, float]:
    """Wall time since `started`, processor time of this process on all cores, peak of anonymous memory."""
    return {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time(), "peak_bytes": peak}


def prepare(folder: Path, rows: int) -> None:
    """The same noise as a store of ours and as .pt files."""
    rng = np.random.default_rng(0)
    image, text = (rng.standard_normal((rows, n, WIDTH), dtype=np.float32).astype(np.float16) for n in (2, 1))
    write(folder / "images", rows, lambda a, b: {"cls": image[a:b, 0], "mean": image[a:b, 1]})
    write(folder / "texts", rows, lambda a, b: {"pooled": text[a:b, 0]})
    for start in range(0, rows, FILE_ROWS):
        part = slice(start, start + FILE_ROWS)
        for side, values in (("image", image), ("text", text)):
            torch.save(torch.from_numpy(values[part].copy()), folder / f"{side}-{start // FILE_ROWS}.pt")


def from_cache(folder: Path, rows: int) -> dict[str, float]:
    """Ours: opening the stores, loading, and the trainer."""
    started, before = time.perf_counter(), anonymous()
    with watched() as risen:
        images, texts = (FeatureStore.open(folder / side / "store") for side in ("images", "texts"))
        everything = np.arange(rows)
        features = ResidentFeatures(
            image_columns([images], "mean").take(everything), text_columns([texts]).take(everything), CPU
        )
        pairs = torch.arange(rows)[:, None].repeat(1, 2)
        data = AlignmentData(features, (pairs,), (pairs[:64],), {}, ("synthetic",))
        train_repeat(data, PARAMS, spec=spec(), repeat=0, seed=0, on_epoch=lambda _: None)
    return _took(started, before + max(risen))


class Lists(Dataset[tuple[torch.Tensor, torch.Tensor, int]]):
    """Every row of every file as a tensor of its own in a list, joined by position."""

    def __init__(self, folder: Path) -> None:
        self.images: list[torch.Tensor] = []
        self.texts: list[torch.Tensor] = []
        for side, rows in (("image", self.images), ("text", self.texts)):
            for file in sorted(folder.glob(f"{side}-*.pt"), key=lambda path: int(path.stem.split("-")[1])):
                rows.extend(torch.load(file, weights_only=True))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, torch.Tensor, int]:
        return self.images[row], self.texts[row], row


def run(step: Updater, epochs: int, steps: int, batches: Any) -> None:
    """The same step on the batches of any loader."""
    number = 0
    for _ in range(epochs):
        for batch in batches():
            step(batch, [learning_rate(number, steps, PARAMS)], number, steps)
            number += 1


def from_lists(folder: Path, rows: int) -> dict[str, float]:
    """SAIL's way."""
    started, before = time.perf_counter(), anonymous()
    with watched() as risen:
        loader = DataLoader(Lists(folder), batch_size=PARAMS.batch_size, shuffle=True, num_workers=0)

        def batches() -> Iterator[PairBatch]:
            for image, text, row in loader:
                yield PairBatch(ImageInput(image[:, 0], image[:, 1:]), TextInput(text), row, row)

        run(updater(_nothing(), spec(), [PARAMS]), EPOCHS, EPOCHS * len(loader), batches)
    del rows
    return _took(started, before + max(risen))


def _nothing() -> AlignmentData:
    """The widths of the features, for a head."""
    features = ResidentFeatures(
        ImageInput(torch.zeros(2, WIDTH), torch.zeros(2, 1, WIDTH)), TextInput(torch.zeros(2, 1, WIDTH)), CPU
    )
    pairs = torch.arange(2)[:, None].repeat(1, 2)
    return AlignmentData(features, (pairs,), (pairs,), {}, ())


def with_encoders(subset: int) -> dict[str, float]:
    """The reference's way on `subset` pictures and captions of the project's data, one epoch, batches of 64."""
    config = load_config(Path("params.yaml"))
    dataset = "emoji"
    index, encode = index_folder("pairs", dataset), config.section("encode").model_copy(update={"device": "cpu"})
    views = {side: config.section(f"views.{view}") for side, view in (("image", "vit"), ("text", "minilm"))}
    encoders = {side: config.section(f"encoders.{view.encoder}") for side, view in views.items()}
    before = anonymous()
    with watched() as risen:
        ids = list(image_plan(index, encode.shard_rows).ids)[:subset]
        plan, strings = text_plan(index, ("en",), encode.shard_rows)
        texts_ids = list(plan.ids)[:subset]
        images = image_rows(checkpoint_folder(views["image"].encoder), encoders["image"], views["image"], index, encode)
        texts = text_rows(checkpoint_folder(views["text"].encoder), encoders["text"], views["text"], strings, encode)
        step = updater(_nothing(), spec(), [PARAMS])
        list(images.encode(ids[:16])), list(texts.encode(texts_ids[:16]))  # warm-up
        count, encoding, encoding_busy = min(len(ids), len(texts_ids)) // 64 * 64, 0.0, 0.0
        started, busy = time.perf_counter(), time.process_time()
        for first in range(0, count, 64):
            part = slice(first, first + 64)
            began, busy_before = time.perf_counter(), time.process_time()
            image, text = list(images.encode(ids[part])), list(texts.encode(texts_ids[part]))
            encoding += time.perf_counter() - began
            encoding_busy += time.process_time() - busy_before
            rows = torch.arange(64)
            batch = PairBatch(
                ImageInput(*(_joined(image, name)[:, -1:] for name in ("cls", "mean"))),
                TextInput(_joined(text, "pooled")[:, None]),
                rows,
                rows,
            )
            batch = PairBatch(ImageInput(batch.images.cls[:, 0], batch.images.local), batch.texts, rows, rows)
            step(batch, [1e-3], 0, 1)
        seconds, busy = time.perf_counter() - started, time.process_time() - busy
    return {
        "pairs": count,
        "seconds_per_pair": seconds / count,
        "cpu_seconds_per_pair": busy / count,
        "encoding_seconds_per_pair": encoding / count,
        "encoding_cpu_seconds_per_pair": encoding_busy / count,
        "peak_bytes": before + max(risen),
    }


def _joined(batches: list[Any], name: str) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([batch.arrays[name] for batch in batches]))


def measure(rows: int, subset: int, folder: Path) -> dict[str, Any]:
    """Each way in a process of its own."""
    prepare(folder, rows)
    ours, lists = apart(from_cache, folder, rows), apart(from_lists, folder, rows)
    encoders = apart(with_encoders, subset)
    once = rows * encoders["encoding_seconds_per_pair"]
    scaled = EPOCHS * rows * encoders["seconds_per_pair"]
    once_busy = rows * encoders["encoding_cpu_seconds_per_pair"]
    scaled_busy = EPOCHS * rows * encoders["cpu_seconds_per_pair"]
    return {
        "pairs": rows,
        "epochs": EPOCHS,
        "batch_size": PARAMS.batch_size,
        "cache": ours | {"encoding_once_seconds": once},
        "sail": lists | {"encoding_once_seconds": once},
        "encoders_in_the_loop": {"measured": encoders, "scaled_seconds": scaled, "peak_bytes": encoders["peak_bytes"]},
        "ratios": {
            "sail_to_cache_seconds": lists["seconds"] / ours["seconds"],
            "sail_to_cache_peak": lists["peak_bytes"] / ours["peak_bytes"],
            "encoders_to_cache_seconds": scaled / ours["seconds"],
            "encoders_to_cache_seconds_with_encoding_once": scaled / (ours["seconds"] + once),
            "sail_to_cache_cpu_seconds": lists["cpu_seconds"] / ours["cpu_seconds"],
            "encoders_to_cache_cpu_seconds": scaled_busy / ours["cpu_seconds"],
            "encoders_to_cache_cpu_seconds_with_encoding_once": scaled_busy / (ours["cpu_seconds"] + once_busy),
            "encoders_to_cache_peak": encoders["peak_bytes"] / ours["peak_bytes"],
        },
    }


def table(found: dict[str, Any]) -> list[str]:
    """Lines to print."""
    cache, sail, loop, ratios = found["cache"], found["sail"], found["encoders_in_the_loop"], found["ratios"]
    times = {name: f"{value:.2f}" for name, value in ratios.items()}
    return [
        f"(b) {found['epochs']} epochs of {found['pairs']} pairs, batches of {found['batch_size']}",
        f"  from the cache         {cache['seconds']:9.1f} s {cache['peak_bytes'] / 1e6:8.0f} MB, after "
        f"{cache['encoding_once_seconds']:.0f} s of encoding once",
        f"  SAIL: lists in memory  {sail['seconds']:9.1f} s {sail['peak_bytes'] / 1e6:8.0f} MB "
        f"({times['sail_to_cache_seconds']} and {times['sail_to_cache_peak']} times)",
        f"  encoders in the loop   {loop['scaled_seconds']:9.0f} s {loop['peak_bytes'] / 1e6:8.0f} MB "
        f"({times['encoders_to_cache_seconds']} times; {times['encoders_to_cache_seconds_with_encoding_once']} with "
        f"encoding once; {times['encoders_to_cache_peak']} times the memory), scaled from "
        f"{loop['measured']['pairs']} pairs and one epoch",
        f"  in processor time: SAIL {times['sail_to_cache_cpu_seconds']} times, encoders "
        f"{times['encoders_to_cache_cpu_seconds']} times ({times['encoders_to_cache_cpu_seconds_with_encoding_once']} "
        "with encoding once)",
    ]
