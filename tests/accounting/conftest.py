"""The folders of a small run, with figures that are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipeline.config import RunNames, StoreSpec
from pipeline.encoders.manifest import Manifest, combined_digest, hash_files, write_manifest
from pipeline.features.scratch import WORK_VARIABLE

STORES = {
    "mine-eye": StoreSpec(group="pairs", dataset="mine", view="eye", encoder="eye"),
    "mine-words": StoreSpec(group="pairs", dataset="mine", view="words", encoder="words"),
    "other-words": StoreSpec(group="pairs", dataset="other", view="words", encoder="words"),
    "never-run": StoreSpec(group="pairs", dataset="never", view="words", encoder="words"),
}
NAMES = RunNames(
    encoders=("eye", "words"),
    datasets=("mine", "other", "never"),
    scenes=("composed", "training"),
    stores=STORES,
    compare=("never",),
    toy=("never",),
    predictors=("never",),
    curations=(),
    aligners=("default", "again"),
    dense_heads=(),
    tasks=("retrieval", "classification", "long_text"),
)
EYE, WORDS = 3 * 4 + 5, 2 * 7  # parameters


def checkpoint(folder: Path, tensors: dict[str, np.ndarray], modality: str) -> str:
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    files = hash_files(folder)
    weights = combined_digest(files)
    write_manifest(
        folder,
        Manifest(
            "Net",
            4,
            None,
            None,
            None,
            {},
            1,
            "local",
            folder.name,
            "transformers",
            modality,
            None,
            None,
            files,
            weights,
        ),
    )
    return weights


def put(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def store(folder: Path, digest: str, rows: int) -> None:
    put(folder / "zarr.json", {"attributes": {"fingerprint": {"digest": digest}, "rows": rows}})
    (folder / "cls").write_bytes(b"x" * 100)


def model(folder: Path, weights: dict[str, str], pairs: int, epochs: int) -> None:
    views = {"image": "eye", "text": "words"}
    fingerprints = {
        side: {"digest": view, "compared": {"weights": weights[view]}, "described": {"model": f"{view}-net"}}
        for side, view in views.items()
    }
    put(folder / "config.json", {"views": views, "parameters": 3, "kept": 5, "fingerprints": fingerprints})
    repeats = {f"repeat_{i}": {"samples_seen": pairs * epochs, "training_pairs": pairs} for i in range(2)}
    put(folder / "metrics.json", {"samples_seen": 2 * pairs * epochs, "seconds": 1.5, "repeats": repeats})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two stores that were encoded here, one that was restored, and two aligners."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    data = tmp_path / "data"
    eye = {
        "a": np.zeros((3, 4), np.float32),
        "bn.running_mean": np.zeros(6, np.float32),
        "bn.running_var": np.zeros(6, np.float32),
        "bn.num_batches_tracked": np.zeros((), np.int64),
        "b": np.zeros(5, np.float16),
    }
    weights = {
        "eye": checkpoint(data / "checkpoints/eye", eye, "image"),
        "words": checkpoint(data / "checkpoints/words", {"e": np.zeros((2, 7), np.float32)}, "text"),
    }
    store(data / "features/pairs/eye/mine", "digest-eye", 10)
    store(data / "features/pairs/words/mine", "digest-words", 20)
    store(data / "features/pairs/words/other", "digest-words", 5)
    for index in ("pairs/mine", "pairs/other", "prompts/classnames", "scenes/composed", "scenes/training"):
        put(data / "index" / index / "about.json", {})
    put(data / "splits/summary.json", {})
    for task in ("retrieval", "long_text"):
        for suffix in ("json", "summary.json", "examples.json", "csv"):
            put(data / f"results/{task}.{suffix}", {})
    model(data / "models/default", weights, pairs=8, epochs=3)
    model(data / "models/again", weights, pairs=4, epochs=3)
    timings = [
        {"stage": "encode@mine-eye", "seconds": 9.0, "peak_bytes": 5},
        {"stage": "encode@mine-eye", "seconds": 4.0, "peak_bytes": 7},
        {"stage": "splits", "seconds": 1.0, "peak_bytes": 2},
        {"stage": "evaluate@long_text", "seconds": 2.0, "peak_bytes": 3},
    ]
    runs = [
        {"store": "mine-eye", "fingerprint": "digest-eye", "encoded": 6, "seconds": 1.8},
        {"store": "mine-eye", "fingerprint": "digest-eye", "encoded": 4, "seconds": 1.2},
        {"store": "mine-eye", "fingerprint": "digest-eye", "encoded": 0, "seconds": 50.0},
        {"store": "mine-eye", "fingerprint": "digest-old", "encoded": 99, "seconds": 99.0},
        {"store": "mine-words", "fingerprint": "digest-words", "encoded": 20, "seconds": 1.0},
    ]
    (tmp_path / "work/scratch").mkdir(parents=True)
    (tmp_path / "work/timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in timings))
    (tmp_path / "work/scratch/journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in runs) + "{torn")
    return tmp_path
