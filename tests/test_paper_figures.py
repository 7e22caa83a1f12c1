"""The hours in docs/paper.md are those that the measured rates give."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
GPU = json.loads((ROOT / "benchmarks" / "results" / "gpu.json").read_text(encoding="utf-8"))
PAIRS = 20e6


def row(name: str) -> list[str]:
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| {name}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def numbers(cell: str) -> list[float]:
    return [float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*(?:\.\d+)?", cell)]


def test_pictures_and_captions_take_what_their_rates_say() -> None:
    images, texts = (GPU[name]["rows_per_second"] for name in ("vit-l14", "roberta-large"))
    best, bare = numbers(row("image features")[2])
    assert (best, bare) == (round(max(images["ours"])), round(sorted(images["forward, whole"])[1]))
    assert numbers(row("image features")[3]) == [round(PAIRS / rate / 3600, 1) for rate in (best, bare)]
    (rate,) = numbers(row("text features")[2])
    assert rate == round(max(texts["ours"]))
    assert numbers(row("text features")[3]) == [round(PAIRS / rate / 3600, 1)]


def test_training_takes_what_its_rate_says() -> None:
    epochs = GPU["training"]["cls"]["epochs"]
    (rate,) = numbers(row("training, 30 epochs")[2])
    assert rate == pytest.approx(epochs["pairs"] / epochs["second_epoch_seconds"], rel=1e-3)
    assert numbers(row("training, 30 epochs")[3]) == [round(30 * PAIRS / rate / 3600, 1)]


def test_the_sum_is_the_sum() -> None:
    total = numbers(row("**on the GPU**")[3])
    assert total == [round(sum(numbers(row(name)[3])[0] for name in ("image f", "text f", "training, 30")), 1)]
    assert f"{total[0]} hours times the price" in PAGE
    assert f"{round(3 * total[0])} dollars at 3 an hour" in PAGE


def test_bytes_are_those_of_float16_vectors() -> None:
    assert numbers(row("image features")[1]) == [round(PAIRS * 2 * 1024 * 2 / 1e9)]
    assert numbers(row("text features")[1]) == [round(PAIRS * 1024 * 2 / 1e9)]
