"""Turns finished shards into a store: hard links, metadata, row index."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import StoreError
from pipeline.features.fingerprint import Fingerprint
from pipeline.features.layout import ArraySpec, create_group, fsync_folder
from pipeline.features.manifest import FileRecord, read_manifest, write_manifest
from pipeline.features.reader import ROWS_FILE
from pipeline.features.replace import forget_aside, replace_folder
from pipeline.features.scratch import link
from pipeline.features.shards import VALID, ScratchShard, write_rows


def publish(
    out: Path,
    fingerprint: Fingerprint,
    specs: Sequence[ArraySpec],
    shards: Sequence[ScratchShard],
    shard_rows: int,
    notes: dict[str, Any],
) -> None:
    """Make the store at `out` from shards in order; it appears whole or not at all.

    One that it replaces stays as it was for those who have it open.

    Args:
        notes: further attributes, e.g. the patch grid; nothing that differs from run to run, or DVC would run what
            depends on the store again.
    """
    rows = sum(shard.record.rows for shard in shards)
    attributes = {
        "fingerprint": fingerprint.as_dict(),
        "arrays": [spec.name for spec in specs],
        "rows": rows,
        "failed": sum(len(shard.reasons()) for shard in shards),
        "shard_rows": shard_rows,
        "shards": [_listed(shard) for shard in shards],
        **({"ragged": ragged} if (ragged := [spec.name for spec in specs if spec.ragged]) else {}),
        **notes,
    }
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for shard in shards:
        forget_aside(shard.folder)
    partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        tokens = {spec.name: [_tokens(shard, spec) for shard in shards] for spec in specs if spec.ragged}
        create_group(partial, [*specs, VALID], rows, shard_rows, attributes, tokens)
        write_rows((shard.row_table() for shard in shards), partial / ROWS_FILE)
        write_manifest(partial, fingerprint.digest, _link_shards(partial, shards, [*specs, VALID]))
        fsync_folder(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    replace_folder(partial, out)
    fsync_folder(out.parent)


def holds(out: Path, fingerprint: Fingerprint, shards: Sequence[ScratchShard]) -> bool:
    """Whether there is a store at `out` that was made of these shards: its files are there, but are not read."""
    try:
        attributes = json.loads((out / "zarr.json").read_text(encoding="utf-8"))["attributes"]
        manifest = read_manifest(out)
        return (
            manifest is not None
            and manifest.fingerprint == fingerprint.digest
            and attributes["shards"] == [_listed(shard) for shard in shards]
            and all((out / name).stat().st_size == record.bytes for name, record in manifest.files.items())
        )
    except (OSError, ValueError, KeyError, TypeError, StoreError):
        return False


def _link_shards(folder: Path, shards: Sequence[ScratchShard], specs: Sequence[ArraySpec]) -> dict[str, FileRecord]:
    """Give every shard file its name in the store; returns its record for the manifest."""
    records, start = {}, 0
    for number, shard in enumerate(shards):
        rows = (start, start + shard.record.rows)
        start = rows[1]
        for spec in specs:
            name, source = spec.shard_path(number), shard.folder / spec.name
            link(source, folder / name)
            records[name] = FileRecord(source.stat().st_size, shard.record.files[spec.name], number, rows)
    return records


def _tokens(shard: ScratchShard, spec: ArraySpec) -> int:
    lengths = shard.lengths(spec)
    if lengths is None:
        raise StoreError(f"{shard.folder} does not record how many tokens its rows have. Delete it and run: dvc repro")
    return int(lengths.sum())


def _listed(shard: ScratchShard) -> dict[str, Any]:
    """A shard in the store's attributes; sorted, since a record just made and one read back differ in order."""
    return {
        "key": shard.record.key,
        "rows": shard.record.rows,
        "xxh3_128": dict(sorted(shard.record.files.items())),
    }
