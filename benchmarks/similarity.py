"""Time and memory of measuring similarity, from 1,000 to 1,000,000 samples.

    python benchmarks/similarity.py [MEASURE ...]

Two stored float16 spaces of 384 dimensions that share a part of their variance are mapped from files. Each figure is of
a process of its own: processor seconds of the measure alone, and the memory that it takes on top of imports and of the
mapped files (anonymous memory, sampled every 10 ms). Beside each measure stands the same value from full Gram matrices,
where they fit. What takes time that grows with the square of the samples ends at 10,000. `compare` is one repeat of
that stage: 9 image spaces, 2 text spaces, 200 permutations of families, CKA and mutual-kNN.

Prints a table and writes benchmarks/results/similarity.json.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import CompareSpec
from pipeline.similarity.candidates import Candidates, ImageSpace, TextSpace
from pipeline.similarity.measure import measure_repeat
from pipeline.similarity.probe import cca_probe
from pipeline.similarity.registry import MEASURES
from pipeline.similarity.samples import Captioned

RESULT = Path(__file__).parent / "results" / "similarity.json"
WIDTH = 384
BLOCK = 20_000
STREAMED = (1_000, 4_096, 10_000, 100_000, 1_000_000)
SQUARED = STREAMED[:3]
RUNS = {
    "cka": STREAMED,
    "cka_biased": STREAMED,
    "rbf_cka": SQUARED,
    "rbf_cka_biased": SQUARED,
    "cknna": SQUARED,
    "mutual_knn": SQUARED,
    "probe": SQUARED,
    "cka, full Gram": SQUARED,
    "cka_biased, full Gram": SQUARED,
    "compare": (1_000, 4_096),
}


def spaces(folder: Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """The first rows of the stored spaces, mapped."""
    x, y = (np.load(folder / f"{side}.npy", mmap_mode="r", allow_pickle=False) for side in "xy")
    return x[:rows], y[:rows]


def write_spaces(folder: Path, rows: int) -> None:
    """Gaussian features, a third of whose dimensions are shared, in blocks; any number has the same first rows."""
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.normal(size=(WIDTH, WIDTH)))[0]
    files = [
        np.lib.format.open_memmap(folder / f"{side}.npy", mode="w+", dtype=np.float16, shape=(rows, WIDTH))
        for side in "xy"
    ]
    for start in range(0, rows, BLOCK):
        x, y = (generator.standard_normal((BLOCK, WIDTH), dtype=np.float32) for _ in files)
        y[:, : WIDTH // 3] = x[:, : WIDTH // 3]
        for file, block in zip(files, (x, y @ turn), strict=True):
            file[start : start + BLOCK] = block[: rows - start]
    for file in files:
        file.flush()


def full_gram(x: np.ndarray, y: np.ndarray, unbiased: bool) -> float:
    """CKA as it is usually written: centred (N, N) matrices."""
    n, grams = len(x), []
    for side in (x, y):
        wide = np.asarray(side, dtype=np.float64)
        gram = wide @ wide.T
        if unbiased:
            np.fill_diagonal(gram, 0.0)
            row = gram.sum(axis=0) / (n - 2)
            gram = gram - row[:, None] - row[None, :] + row.sum() / (n - 1)
            np.fill_diagonal(gram, 0.0)
        else:
            row = gram.mean(axis=0)
            gram = gram - row[:, None] - row[None, :] + row.mean()
        grams.append(gram)
    return float((grams[0] * grams[1]).sum() / np.linalg.norm(grams[0]) / np.linalg.norm(grams[1]))


def compare(x: np.ndarray, y: np.ndarray) -> float:
    """One repeat of the stage, on families of 1 to 4 samples; returns the first CKA."""
    n = len(x)
    families = np.repeat(np.arange(n), np.arange(n) % 4 + 1)[:n].astype(str).astype(object)
    names = np.array([f"{i:07d}" for i in range(n)], dtype=object)
    samples = Captioned(
        np.full(n, "d", dtype=object), names, families, tuple((name,) for name in names), np.full((n, 1), "train")
    )
    generator = np.random.default_rng(1)
    images = [x.astype(np.float32) + generator.normal(size=x.shape).astype(np.float32) * i for i in range(9)]
    texts = [y.astype(np.float32), y.astype(np.float32) + generator.normal(size=y.shape).astype(np.float32)]
    candidates = Candidates(
        samples,
        tuple(ImageSpace("view", i, "cls", image) for i, image in enumerate(images)),
        tuple(TextSpace(f"text{i}", text) for i, text in enumerate(texts)),
    )
    spec = CompareSpec(datasets=("d",), images=("view",), texts=("text0", "text1"), control="view")
    return float(measure_repeat(candidates, 0, spec, 0).cka[0, 0])


def one(name: str, folder: Path, rows: int) -> dict[str, Any]:
    """Run in a process of its own."""
    x, y = spaces(folder, rows)
    measures: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
        **MEASURES,
        "probe": lambda a, b: cca_probe(a, b, np.arange(len(a)).astype(str)).recall(1),
        "cka, full Gram": lambda a, b: full_gram(a, b, unbiased=True),
        "cka_biased, full Gram": lambda a, b: full_gram(a, b, unbiased=False),
        "compare": compare,
    }
    MEASURES["cka"](x[:500], y[:500])  # imports and thread pools
    peak, done, before = [anonymous()], threading.Event(), anonymous()

    def sample() -> None:
        while not done.wait(0.01):
            peak.append(anonymous())

    watcher = threading.Thread(target=sample)
    watcher.start()
    start = time.process_time()
    value = measures[name](x, y)
    seconds = time.process_time() - start
    done.set()
    watcher.join()
    return {"measure": name, "rows": rows, "value": value, "seconds": seconds, "mb": (max(peak) - before) / 1e6}


def anonymous() -> int:
    """Bytes of memory of this process that no file stands behind."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status has no RssAnon: this benchmark needs Linux")


def main(names: Sequence[str]) -> None:
    """Run what is named and write the result after each; what else an earlier run found stays."""
    machine = {"threads": os.environ.get("OMP_NUM_THREADS"), "cores": os.cpu_count(), "numpy": np.__version__}
    with tempfile.TemporaryDirectory() as temporary:
        write_spaces(Path(temporary), max(max(RUNS[name]) for name in names))
        for name in names:
            own = []
            for rows in RUNS[name]:
                command = [sys.executable, __file__, "one", name, temporary, str(rows)]
                shown = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                print(f"| {name} | {rows:,} | {shown['value']:.6f} | {shown['seconds']:.2f} | {shown['mb']:.0f} |")
                own.append(shown)
            earlier = json.loads(RESULT.read_text(encoding="utf-8"))["runs"] if RESULT.exists() else []
            found = [run for run in earlier if run["measure"] != name] + own
            found.sort(key=lambda run: (list(RUNS).index(run["measure"]), run["rows"]))
            result = {"width": WIDTH, "machine": machine, "runs": found}
            RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(json.dumps(one(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))))
    else:
        main(sys.argv[1:] or list(RUNS))
