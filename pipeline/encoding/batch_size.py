"""The batch size, found once by trial and remembered beside the scratch folder.

The batch size affects features by rounding only, but a run that resumes a killed one must end in the same bytes. The
size found is therefore kept for the encoder, its view and the device, and recorded in the store.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Any, Literal

import torch

from pipeline.encoders.memory import is_out_of_memory
from pipeline.encoding.workers import OrderedWorkers
from pipeline.errors import CheckpointError
from pipeline.features.claims import Claim
from pipeline.features.fingerprint import digest_of
from pipeline.plain_files import write_whole
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)
BATCH_SIZES = "batch_sizes.json"
_SIZES = {"cpu": (4, 8, 16, 32, 64), "cuda": (16, 32, 64, 128, 256, 512, 1024)}
_MIN_SPEEDUP = 1.03  # a larger batch must be at least this much faster
_MIN_SECONDS = 0.3  # for which a size is timed, once warm


def resolved_batch_size(size: int | Literal["auto"]) -> int:
    """The batch size as a number; `auto` must have been replaced by `find_batch_size` before.

    Raises:
        CheckpointError: it is still `auto`.
    """
    if size == "auto":
        raise CheckpointError("batch_size: auto was not resolved to a number; make rows with pipeline.encoding.load")
    return size


def find_batch_size(subject: dict[str, Any], device: str, run: Callable[[int], None]) -> int:
    """The smallest size within 3 % of the highest throughput; measured only if no earlier measurement is stored.

    Args:
        subject: what decides the cost: weights, resolution or length, dtype, modality.
        run: encodes a batch of that size and waits until it is done.

    Raises:
        CheckpointError: even the smallest size does not fit into memory.
    """
    kind = torch.device(device).type
    name = torch.cuda.get_device_name(device) if kind == "cuda" else kind
    key = digest_of(subject | {"device": name})
    path = work_folder() / BATCH_SIZES
    if key in (stored := _read(path)):
        return stored[key]
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim.take(path.parent, path.stem, wait=True)  # or two that start together find two sizes
    assert claim is not None
    with claim:
        if key in (stored := _read(path)):
            return stored[key]
        size = _fastest(_SIZES.get(kind, _SIZES["cpu"]), run if kind != "cpu" else _on_one_core(run))
        log.info("batch size %d found for %s on %s", size, subject.get("model", "the encoder"), name)
        write_whole(path, json.dumps(stored | {key: size}, indent=1, sort_keys=True).encode("utf-8"))
    return size


def _fastest(sizes: tuple[int, ...], run: Callable[[int], None]) -> int:
    best, rate = 0, 0.0
    for size in sizes:
        try:
            run(size)
            throughput = size / _seconds(run, size)
        except (MemoryError, RuntimeError, OSError, CheckpointError) as error:
            cause = error.__cause__ or error
            if not is_out_of_memory(cause):
                raise
            if best == 0:
                raise CheckpointError(f"Even a batch of {size} does not fit into memory ({cause}).") from error
            return max(sizes[0], best // 2)  # two batches are on the device at once
        if throughput < rate * _MIN_SPEEDUP:
            return best
        best, rate = size, throughput
    return best


def _on_one_core(run: Callable[[int], None]) -> Callable[[int], None]:
    """The same in a thread that uses one core, as workers do."""
    worker = OrderedWorkers(run, workers=1)
    return lambda size: next(worker.results([size]))


def _seconds(run: Callable[[int], None], size: int) -> float:
    """Seconds per batch."""
    started, times = time.perf_counter(), 0
    while times == 0 or time.perf_counter() - started < _MIN_SECONDS:
        run(size)
        times += 1
    return (time.perf_counter() - started) / times


def _read(path: Any) -> dict[str, int]:
    try:
        return {str(key): int(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}
