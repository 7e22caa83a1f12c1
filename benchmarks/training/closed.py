"""(e) Closed forms fitted in one pass over a store, against its two limits: reading the bytes, and the arithmetic.

The arithmetic of a linear form is three products of a block, X'X, Y'Y and X'Y; here on one block that stays in memory.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.stream import BLOCK, write
from benchmarks.training.common import CPU
from pipeline.alignment.closed_form.fit import fit_closed
from pipeline.alignment.closed_form.statistics import BLOCK as PRODUCT_ROWS
from pipeline.alignment.data.columns import image_columns, text_columns
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.streaming import StreamedFeatures
from pipeline.config import CCA, AnyForm, ClosedFormHead, KernelRidge, Procrustes, Ridge

WIDTH, TILE = 384, 65_536
FORMS: dict[str, AnyForm] = {
    "procrustes": Procrustes(kind="procrustes", embed_dim=WIDTH),
    "ridge": Ridge(kind="ridge"),
    "cca": CCA(kind="cca", embed_dim=WIDTH),
    "kernel-ridge, 512 Fourier features": KernelRidge(kind="kernel-ridge", features="fourier", size=512),
}
READ_ROWS = 4096
MOST_PRODUCTS = 200  # blocks; more are scaled


def stores(folder: Path, rows: int) -> AlignmentData:
    """`rows` pairs in a store, streamed: a tile of planted pairs over and over, shifted a little each time."""
    rng = np.random.default_rng(0)
    hidden = rng.standard_normal((min(rows, TILE), 64), dtype=np.float32)
    tiles = [
        (hidden @ rng.standard_normal((64, WIDTH), dtype=np.float32) / 8).astype(np.float16)
        + rng.standard_normal((len(hidden), WIDTH), dtype=np.float32).astype(np.float16)
        for _ in range(2)
    ]

    def tile(side: int, start: int, stop: int) -> np.ndarray:
        return tiles[side][np.arange(start, stop) % len(hidden)]

    images = write(folder / "images", rows, lambda a, b: {"cls": tile(0, a, b)})
    texts = write(folder / "texts", rows, lambda a, b: {"pooled": tile(1, a, b)})
    features = StreamedFeatures(image_columns([images], "none"), text_columns([texts]), CPU, BLOCK, 64 * 10**6)
    pairs = torch.arange(rows)[:, None].repeat(1, 2)
    return AlignmentData(features, (pairs,), (pairs[:256],), {}, ("synthetic",))


def read(data: AlignmentData) -> float:
    """Seconds to read every byte once, in order, into the same buffers."""
    assert isinstance(data.features, StreamedFeatures)
    columns = (data.features.images.columns.arrays[0], *data.features.texts.columns.arrays)
    buffers = [np.empty((READ_ROWS, *column.shape[1:]), column.dtype) for column in columns]
    started = time.perf_counter()
    for start in range(0, len(data.train[0]), READ_ROWS):
        stop = min(start + READ_ROWS, len(data.train[0]))
        for column, buffer in zip(columns, buffers, strict=True):
            column.read_range(start, stop, out=buffer[: stop - start])
    return time.perf_counter() - started


def products(rows: int) -> float:
    """Seconds of the products of a linear form over `rows` pairs, on a block of float32 in memory."""
    x, y = (torch.randn(min(rows, PRODUCT_ROWS), WIDTH) for _ in range(2))
    blocks = min(max(1, rows // PRODUCT_ROWS), MOST_PRODUCTS)
    x.T @ x
    started = time.perf_counter()
    for _ in range(blocks):
        x.T @ x, y.T @ y, x.T @ y
    return (time.perf_counter() - started) * rows / (blocks * len(x))


def measure(sizes: list[int]) -> list[dict[str, Any]]:
    """A line per number of rows: reading, then each form, the page cache warm for all."""
    table = []
    for rows in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            data = stores(Path(temporary), rows)
            row: dict[str, Any] = {"rows": rows, "bytes": rows * 2 * WIDTH * 2, "read_seconds": read(data)}
            row["read_seconds"] = min(row["read_seconds"], read(data))
            row["product_seconds"] = products(rows)
            row["seconds"], row["cpu_seconds"] = {}, {}
            for name, form in FORMS.items():
                head = ClosedFormHead(
                    kind="closed-form", local_tokens="none", image_input="cls", forms={form.kind: form}
                )
                started, busy = time.perf_counter(), time.process_time()
                fit_closed(head, data, 0, 0)
                row["seconds"][name] = time.perf_counter() - started
                row["cpu_seconds"][name] = time.process_time() - busy
            table.append(row)
    return table


def table(found: list[dict[str, Any]]) -> list[str]:
    """Lines to print."""
    lines = [f"(e) closed forms in one pass, {WIDTH} + {WIDTH} values of float16 a row, warm page cache; seconds"]
    for row in found:
        fits = ", ".join(
            f"{name} {took:.2f} ({took / row['read_seconds']:.0f} times)" for name, took in row["seconds"].items()
        )
        lines.append(
            f"  {row['rows']:9,} rows, {row['bytes'] / 1e9:6.3f} GB: reading {row['read_seconds']:.3f}, "
            f"products {row['product_seconds']:.3f}; {fits}"
        )
    return lines
