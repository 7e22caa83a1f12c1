"""The encode loop: reuses finished shards, assembles the others from cached rows and the backbone, and publishes."""

import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.encoding.assembly import ShardRows
from pipeline.encoding.plan import Plan, require_space
from pipeline.encoding.protocol import PrefetchingRowEncoder, RaggedRowEncoder, RowEncoder
from pipeline.encoding.recover import recover_previous
from pipeline.encoding.remembered import recall, remember
from pipeline.encoding.rowcache import RowCache
from pipeline.errors import SourceError
from pipeline.features import ArraySpec, Fingerprint
from pipeline.features.publish import publish
from pipeline.features.quantised import stored_rows, stored_specs
from pipeline.features.scratch import exclusive, explain_full_disk, scratch_folder
from pipeline.features.shards import ScratchShard, ShardWriter, shard_key
from pipeline.ids import Ids
from pipeline.plain_files import append_line
from pipeline.progress import tqdm

log = logging.getLogger(__name__)
JOURNAL = "journal.jsonl"
_SAMPLE = 1000  # texts from whose lengths the total is estimated


@dataclass
class EncodeSummary:
    """What one encode did.

    Attributes:
        rows: rows in the store.
        encoded: rows that went through the backbone.
        passes: forward passes of the backbone.
        reused_rows: rows of new shards that were taken from finished shards.
        reused_shards: shards that were reused whole.
        failed: rows without features.
    """

    store: str
    fingerprint: str
    rows: int = 0
    encoded: int = 0
    passes: int = 0
    reused_rows: int = 0
    reused_shards: int = 0
    failed: int = 0
    bytes: int = 0
    seconds: float = 0.0


class StoreEncoder:
    """Encodes one store.

    Args:
        name: the store, for messages.
        fingerprint: of the features to write.
        load: makes the row encoder; called only if a row is not cached.
        max_failure_rate: share of rows that may fail before the run stops.
    """

    def __init__(
        self, name: str, fingerprint: Fingerprint, load: Callable[[], RowEncoder], max_failure_rate: float
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.scratch = scratch_folder(fingerprint.digest)
        self._load = load
        self._encoder: RowEncoder | None = None
        self._max_failure_rate = max_failure_rate
        self._reasons: list[str] = []
        self.summary = EncodeSummary(name, fingerprint.digest)

    def run(self, plan: Plan, out: Path, stage: str | None = None) -> EncodeSummary:
        """Write the store at `out`.

        Args:
            stage: of DVC, whose earlier output may hold shards that the scratch folder has lost.

        Raises:
            StoreError: no space, at the start or later; a value that does not fit; or another encode of the same
                features is running.
            SourceError: too many samples cannot be read.
        """
        started = time.monotonic()
        with explain_full_disk(), exclusive(self.scratch):
            if stage and (recovered := recover_previous(stage, out, self.scratch, self.fingerprint)):
                log.info("%s: %d shards restored from the DVC cache", self.name, recovered)
            made, notes = self._layout()
            specs = stored_specs(made)
            plan = Plan(plan.ids, bounded_shard_rows(specs, plan.shard_rows))
            shards = self._shards(plan, made, specs)
            publish(out, self.fingerprint, specs, shards, plan.shard_rows, notes)
            self.summary.rows = len(plan.ids)
            self.summary.bytes = sum(shard.bytes for shard in shards)
            reasons = [shard.row_table().column("reason") for shard in shards]
            self.summary.failed = sum(len(column) - column.null_count for column in reasons)
            self.summary.seconds = round(time.monotonic() - started, 3)
            self._write_journal()
        return self.summary

    def _row_encoder(self) -> RowEncoder:
        if self._encoder is None:
            self._encoder = self._load()
        return self._encoder

    def _layout(self) -> tuple[list[ArraySpec], dict[str, object]]:
        """The arrays of this fingerprint, remembered so that a fully cached run need not load the backbone."""
        stored = recall(self.scratch)
        if stored is not None:
            specs = [ArraySpec(**(spec | {"row_shape": tuple(spec["row_shape"])})) for spec in stored["specs"]]
            return specs, stored["notes"]
        encoder = self._row_encoder()
        content = {"specs": [asdict(spec) for spec in encoder.specs], "notes": encoder.notes}
        remember(self.scratch, content | {"encoder": self.fingerprint.described.get("model")})
        return list(encoder.specs), encoder.notes

    def _shards(self, plan: Plan, made: Sequence[ArraySpec], specs: Sequence[ArraySpec]) -> list[ScratchShard]:
        keys = [shard_key(plan.shard(number), plan.shard_rows) for number in range(plan.shard_count)]
        finished = [ScratchShard.find(self.scratch / key) for key in keys]
        self.summary.reused_shards = sum(shard is not None for shard in finished)
        missing = [number for number, shard in enumerate(finished) if shard is None]
        written: dict[str, Future[ScratchShard]] = {}
        if missing:
            starts = (number * plan.shard_rows for number in missing)
            pending = Ids.joined(plan.ids[start : start + plan.shard_rows] for start in starts)
            rows, needed = len(pending), self._forecast(Plan(pending, plan.shard_rows), specs)
            require_space(needed, self.scratch)
            log.info("%s: %d rows in %d shards to write, %.3f GB", self.name, rows, len(missing), needed / 1e9)
            cache = RowCache(self.scratch, specs)
            progress: tqdm[Any]
            with (
                ThreadPoolExecutor(1, thread_name_prefix="publish") as publisher,
                tqdm(total=rows, desc=self.name, unit="row", smoothing=0.1, mininterval=1.0) as progress,
            ):
                previous: Future[ScratchShard] | None = None
                for place, number in enumerate(missing):
                    following = (plan.shard(missing[after]) for after in range(place + 1, len(missing)))
                    later = filter(None, (_uncached(ids, cache) for ids in following))
                    shard = self._write(plan.shard(number), later, plan, made, specs, cache, progress, publisher)
                    if previous is not None:
                        cache.add(previous.result())
                    previous = written[keys[number]] = shard
        else:
            log.info("%s: all %d shards are cached, no backbone is run", self.name, len(finished))
        return [shard or written[key].result() for key, shard in zip(keys, finished, strict=True)]

    def _forecast(self, plan: Plan, specs: Sequence[ArraySpec]) -> int:
        """Bytes that the rows of `plan` will take; where the number of tokens varies, estimated from a sample."""
        if not any(spec.ragged for spec in specs):
            return plan.stored_bytes(specs)
        encoder = self._row_encoder()
        assert isinstance(encoder, RaggedRowEncoder)
        sample = plan.ids[:: -(-len(plan.ids) // _SAMPLE)]
        mean = float(np.mean(encoder.tokens(sample)))
        return plan.stored_bytes([replace(s, most=math.ceil(mean * 1.1)) if s.ragged else s for s in specs])

    def _write(
        self,
        ids: Sequence[str],
        later: Iterable[Sequence[str]],
        plan: Plan,
        made: Sequence[ArraySpec],
        specs: Sequence[ArraySpec],
        cache: RowCache,
        progress: "tqdm[Any]",
        publisher: Executor,
    ) -> Future[ScratchShard]:
        """Assemble one shard in memory and write it; `publisher` flushes it and publishes it in the scratch folder.

        So the backbone continues with the next shards, whose rows `later` announces, without waiting for the disk.
        """
        arrays = ShardRows(specs, len(ids))
        reasons: list[str | None] = [None] * len(ids)
        cached = cache.known(ids)
        if cached.any():
            rows = cache.take([identifier for identifier, hit in zip(ids, cached, strict=True) if hit])
            if rows is None:
                cached[:] = False
            else:
                arrays.put(np.flatnonzero(cached), rows)
                self.summary.reused_rows += int(cached.sum())
                progress.update(int(cached.sum()))
        uncached = np.flatnonzero(~cached)
        if uncached.size:
            encoder = self._row_encoder()
            if isinstance(encoder, PrefetchingRowEncoder):
                encoder.prefetch(later)
            for batch in encoder.encode([ids[int(row)] for row in uncached]):
                rows_here = uncached[batch.positions]
                failed = np.array([reason is not None for reason in batch.reasons], dtype=bool)
                arrays.put(rows_here, stored_rows(batch.arrays, made, failed))
                for row, reason in zip(rows_here.tolist(), batch.reasons, strict=True):
                    reasons[row] = reason
                self._count(batch.reasons, len(plan.ids))
                progress.update(len(batch.positions))
        with ShardWriter(self.scratch, specs, ids, plan.shard_rows) as writer:
            writer.append(arrays.arrays(), reasons)
            return writer.finish_in_background(publisher)

    def _count(self, reasons: Sequence[str | None], total: int) -> None:
        self.summary.passes += 1
        self.summary.encoded += len(reasons)
        self._reasons.extend(reason for reason in reasons if reason is not None)
        if len(self._reasons) > self._max_failure_rate * total:
            listed = "\n".join(f"  {reason}" for reason in self._reasons[:5])
            raise SourceError(
                f"{self.name}: {len(self._reasons)} of {self.summary.encoded} samples so far cannot be encoded, more "
                f"than encode.max_failure_rate = {self._max_failure_rate:g} of {total} allows. The first reasons:\n"
                f"{listed}\nFix the source, or raise encode.max_failure_rate in params.yaml."
            )

    def _write_journal(self) -> None:
        append_line(self.scratch.parent / JOURNAL, json.dumps(asdict(self.summary), sort_keys=True))


def _uncached(ids: Sequence[str], cache: RowCache) -> list[str]:
    return [identifier for identifier, hit in zip(ids, cache.known(ids), strict=True) if not hit]


def bounded_shard_rows(specs: Sequence[ArraySpec], shard_rows: int, limit: int = 512 << 20) -> int:
    """The largest shard length up to `shard_rows` whose arrays together stay within `limit` bytes."""
    row_bytes = sum(spec.sample_bytes for spec in specs)
    while shard_rows > 1 and shard_rows * row_bytes > limit:
        shard_rows = -(-shard_rows // 2)
    return shard_rows
