"""Turning finished shards into a store: hard links, metadata, row index."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.features.fingerprint import Fingerprint
from pipeline.features.layout import ArraySpec, create_group, fsync_folder, shard_path
from pipeline.features.manifest import FileRecord, write_manifest
from pipeline.features.reader import ROWS_FILE
from pipeline.features.scratch import link
from pipeline.features.shards import VALID, ScratchShard


def publish(
    out: Path,
    fingerprint: Fingerprint,
    specs: Sequence[ArraySpec],
    shards: Sequence[ScratchShard],
    shard_rows: int,
    notes: dict[str, Any],
) -> None:
    """Make the store at `out` from shards in order; it appears whole or not at all.

    Args:
        notes: further attributes, e.g. the patch grid; nothing that differs from run to run, or DVC would run what
            depends on the store again.
    """
    ids: list[str] = []
    reasons: list[str | None] = []
    for shard in shards:
        shard_ids, shard_reasons = shard.rows()
        ids += shard_ids
        reasons += shard_reasons
    attributes = {
        "fingerprint": fingerprint.as_dict(),
        "arrays": [spec.name for spec in specs],
        "rows": len(ids),
        "failed": sum(reason is not None for reason in reasons),
        "shard_rows": shard_rows,
        "shards": [_listed(shard) for shard in shards],
        **notes,
    }
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        create_group(partial, [*specs, VALID], len(ids), shard_rows, attributes)
        table = pa.table({"id": pa.array(ids, pa.string()), "reason": pa.array(reasons, pa.string())})
        pq.write_table(table, partial / ROWS_FILE, compression="zstd")
        write_manifest(partial, fingerprint.digest, _link_shards(partial, shards, [*specs, VALID]))
        fsync_folder(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)
    fsync_folder(out.parent)


def _link_shards(folder: Path, shards: Sequence[ScratchShard], specs: Sequence[ArraySpec]) -> dict[str, FileRecord]:
    """Give every shard file its name in the store; returns what the manifest says of each."""
    records, start = {}, 0
    for number, shard in enumerate(shards):
        rows = (start, start + shard.record.rows)
        start = rows[1]
        for spec in specs:
            name, source = shard_path(spec.name, number, len(spec.row_shape)), shard.folder / spec.name
            link(source, folder / name)
            records[name] = FileRecord(source.stat().st_size, shard.record.files[spec.name], number, rows)
    return records


def _listed(shard: ScratchShard) -> dict[str, Any]:
    """A shard in the store's attributes; sorted, since a record just made and one read back differ in order."""
    return {
        "key": shard.record.key,
        "rows": shard.record.rows,
        "xxh3_128": dict(sorted(shard.record.files.items())),
    }
