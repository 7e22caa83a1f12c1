"""Small stores for tests, written as the encode loop writes them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.features import ArraySpec, Fingerprint
from pipeline.features.publish import publish
from pipeline.features.replace import remove
from pipeline.features.shards import ShardWriter

FINGERPRINT = Fingerprint({"weights": "abc", "resolution": 126})


def write_store(
    folder: Path,
    values: Mapping[str, np.ndarray],
    shard_rows: int,
    failed: Sequence[int] = (),
    notes: Mapping[str, object] | None = None,
    dtype: str | None = None,
) -> Path:
    """A store of the given arrays under ids id0, id1, ... at `folder`/store, its shards in `folder`/scratch.

    They are stored as `dtype`, or each as it comes.
    """
    specs = [ArraySpec(name, array.shape[1:], dtype or array.dtype.name) for name, array in values.items()]
    remove(folder / "scratch")  # a shard of the same ids would stay
    rows = len(next(iter(values.values())))
    ids = [f"id{row}" for row in range(rows)]
    shards = []
    for start in range(0, rows, shard_rows):
        part = slice(start, min(start + shard_rows, rows))
        with ShardWriter(folder / "scratch", specs, ids[part], shard_rows) as writer:
            reasons = ["unreadable" if row in failed else None for row in range(part.start, part.stop)]
            writer.append({name: array[part] for name, array in values.items()}, reasons)
            shards.append(writer.finish())
    out = folder / "store"
    publish(out, FINGERPRINT, specs, shards, shard_rows, dict(notes or {}))
    return out


def normal(rows: int, *shape: int, dtype: str = "float16", seed: int = 0) -> np.ndarray:
    """Random features (rows, *shape)."""
    return np.random.default_rng(seed).normal(size=(rows, *shape)).astype(dtype)


def flip(path: Path, byte: int, bit: int) -> None:
    """Flip one bit of a file in place."""
    path.chmod(0o644)
    with open(path, "r+b") as file:
        file.seek(byte)
        old = file.read(1)[0]
        file.seek(byte)
        file.write(bytes([old ^ (1 << bit)]))
