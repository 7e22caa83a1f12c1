"""(c) Time and memory of a step at batches of 1 k to 64 k pairs: in blocks of rows, and with the whole matrix."""

from typing import Any

from benchmarks.training.common import WIDTH, Watch, apart, gathered, noise, spec, updater
from pipeline.config import TrainParams
from tests.features.anonymous import watched

CHUNK = 1024
WHOLE = 16_384  # the largest batch whose whole matrix is tried
FEW = 16_384  # from here on there is one step and no warm-up: it takes long enough


def step(batch_size: int, chunk_rows: int) -> dict[str, float]:
    """Seconds of a step and by how much it raises memory."""
    data = noise(batch_size)
    params = TrainParams(batch_size=batch_size, device="cpu")
    update, batches = updater(data, spec(chunk_rows=chunk_rows), [params]), gathered(data, batch_size)
    if batch_size < FEW:
        update(batches[0], [1e-3], 0, 9)
    runs = 1 if batch_size >= FEW else 3
    with watched() as risen:
        watch = Watch()
        for number in range(runs):
            update(batches[0], [1e-3], number, 9)
        wall, busy = watch.read()
    return {"seconds": wall / runs, "processor_seconds": busy / runs, "peak_bytes": max(risen)}


def measure(sizes: list[int]) -> list[dict[str, Any]]:
    """A line per size of batch."""
    table = []
    for size in sizes:
        row: dict[str, Any] = {
            "batch_size": size,
            "width": WIDTH,
            "chunk_rows": CHUNK,
            "blocks": apart(step, size, CHUNK),
        }
        row["whole"] = apart(step, size, size) if size <= WHOLE else None
        row["whole_matrix_bytes"] = 4 * size * size
        table.append(row)
    return table


def table(found: list[dict[str, Any]]) -> list[str]:
    """Lines to print."""
    lines = [f"(c) one step, width {WIDTH}, in blocks of {CHUNK} rows; memory beyond that of data and head"]
    for row in found:
        beside = f"; whole matrix {_cell(row['whole'])}" if row["whole"] else ""
        lines.append(
            f"  {row['batch_size']:6}  {_cell(row['blocks'])}{beside}; one matrix would be "
            f"{row['whole_matrix_bytes'] / 1e6:,.0f} MB"
        )
    return lines


def _cell(one: dict[str, float]) -> str:
    return f"{one['seconds']:8.2f} s ({one['processor_seconds']:.2f} of processors) {one['peak_bytes'] / 1e6:7.0f} MB"
