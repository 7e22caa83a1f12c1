"""Recovers shards of a store's previous version from DVC's cache when the scratch folder has lost them.

DVC removes an output before its stage runs, but the lock file still names the previous version and the cache still
holds it, even on a machine that only pulled it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.features.claims import Claim
from pipeline.features.dvc_cache import cached_output
from pipeline.features.fingerprint import Fingerprint
from pipeline.features.layout import recorded_shard_path
from pipeline.features.reader import ROWS_FILE
from pipeline.features.replace import remove
from pipeline.features.scratch import link
from pipeline.features.shards import ScratchShard, ShardRecord, describe
from pipeline.parquet import read_parquet


def recover_previous(stage: str, out: Path, scratch: Path, fingerprint: Fingerprint) -> int:
    """Link the shards of the previous version of `out` into `scratch` where they are missing.

    Args:
        stage: the name of the DVC stage, e.g. `encode@emoji-vit`.
        out: the output, relative to the root of the repository.
        scratch: the scratch folder of `fingerprint`.

    Returns:
        How many shards were recovered: 0 without DVC, without a previous version, or if it held other features.
    """
    cached = cached_output(stage, out)
    files = {} if cached is None else {name: entry.path for name, entry in cached.files.items() if entry.present}

    def metadata_of(inside: str) -> dict[str, Any]:
        metadata: dict[str, Any] = json.loads(files[inside].read_text(encoding="utf-8"))
        return metadata

    try:
        attributes = metadata_of("zarr.json")["attributes"]
        if attributes["fingerprint"]["digest"] != fingerprint.digest:
            return 0
        table = read_parquet(files[ROWS_FILE])
        paths = [
            {name: recorded_shard_path(metadata_of, name, number) for name in shard["xxh3_128"]}
            for number, shard in enumerate(attributes["shards"])
        ]
    except (KeyError, ValueError, OSError):  # a file is missing from the cache, or damaged there
        return 0
    recovered = start = 0
    for number, shard in enumerate(attributes["shards"]):
        rows = table.slice(start, shard["rows"]).combine_chunks()
        start += shard["rows"]
        target = scratch / shard["key"]
        sources = {name: source for name, path in paths[number].items() if (source := files.get(path)) is not None}
        if ScratchShard.find(target) is not None or len(sources) < len(paths[number]):
            continue
        claim = Claim.take(scratch, target.name)
        if claim is None:  # another process writes it
            continue
        with claim:
            if ScratchShard.find(target) is not None:
                continue
            record = ShardRecord(shard["key"], shard["rows"], attributes["shard_rows"], shard["xxh3_128"])
            recovered += _linked(sources, target, record, rows)
    return recovered


def _linked(sources: Mapping[str, Path], target: Path, record: ShardRecord, rows: pa.Table) -> bool:
    """Make the shard `target` of links; False if DVC's cache was tidied up meanwhile."""
    partial = target.with_name(f"{target.name}.recovered.partial")
    remove(partial)
    partial.mkdir(parents=True)
    try:
        for name, source in sources.items():
            link(source, partial / name)
    except FileNotFoundError:
        remove(partial)
        return False
    describe(partial, record, rows)
    remove(target)
    os.replace(partial, target)
    return True
