"""Encodes a store: reuses finished shards, has an engine write the others, and publishes when all are finished."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.encoding.counts import Counts, listed
from pipeline.encoding.engine import Engine
from pipeline.encoding.local import LocalEngine
from pipeline.encoding.parts import Part
from pipeline.encoding.plan import Plan, require_space
from pipeline.encoding.planned import PlannedShards
from pipeline.encoding.protocol import RowEncoder
from pipeline.encoding.recover import recover_previous
from pipeline.encoding.shard_encoder import Layout, ShardEncoder
from pipeline.errors import SourceError
from pipeline.features import ArraySpec, Fingerprint
from pipeline.features.claims import Claim
from pipeline.features.fingerprint import digest_of
from pipeline.features.publish import holds, publish
from pipeline.features.scratch import explain_full_disk, scratch_folder, shared
from pipeline.features.shards import ScratchShard
from pipeline.plain_files import append_line
from pipeline.progress import tqdm

log = logging.getLogger(__name__)
JOURNAL = "journal.jsonl"


@dataclass
class EncodeSummary:
    """What one encode did.

    Attributes:
        rows: rows in the store, or of a part in its shards.
        encoded: rows that went through the backbone.
        passes: forward passes of the backbone.
        reused_rows: rows of new shards that were taken from finished shards.
        reused_shards: shards that were reused whole.
        failed: rows without features.
        published: whether all shards were finished, so that this run made the store or found it made.
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
    published: bool = False


class StoreEncoder:
    """Encodes one store. Other processes may encode the same store, or others of the same features, at once.

    Args:
        name: the store, for messages.
        fingerprint: of the features to write.
        load: makes the row encoder; called only if a row is not cached.
        max_failure_rate: share of rows that may fail before the run stops.
        engine: runs the pending shards in place of this process.
        scratch: where finished shards are kept, in place of the folder for all shards of the fingerprint; without
            `engine` alone.
    """

    def __init__(
        self,
        name: str,
        fingerprint: Fingerprint,
        load: Callable[[], RowEncoder],
        max_failure_rate: float,
        engine: Engine | None = None,
        scratch: Path | None = None,
    ) -> None:
        self.name = name
        self.fingerprint = fingerprint
        self.scratch = scratch or scratch_folder(fingerprint.digest)
        self._engine = engine or LocalEngine(ShardEncoder(fingerprint, load, self.scratch))
        self._max_failure_rate = max_failure_rate
        self.summary = EncodeSummary(name, fingerprint.digest)

    def run(self, plan: Plan, out: Path, stage: str | None = None, part: Part | None = None) -> EncodeSummary:
        """Write the store at `out`.

        Args:
            stage: of DVC, whose earlier output may hold shards that the scratch folder has lost.
            part: encode this share of the shards alone; the store is written by the part that finds all finished.

        Raises:
            StoreError: no space, at the start or later; a value that does not fit; or another process is removing
                shards of the same features.
            SourceError: too many samples cannot be read.
        """
        started = time.monotonic()
        with explain_full_disk(), shared(self.scratch):
            if stage and (recovered := recover_previous(stage, out, self.scratch, self.fingerprint)):
                log.info("%s: %d shards restored from the DVC cache", self.name, recovered)
            layout = self._engine.layout()
            rows = bounded_shard_rows(layout.stored, plan.shard_rows)
            shards = PlannedShards(self.scratch, Plan(plan.ids, rows))
            mine = range(len(shards)) if part is None else part.numbers(len(shards))
            self._write(mine, shards, layout, f"{self.name} part {part}" if part else self.name)
            finished = shards.finished()
            missing = [number for number, shard in enumerate(finished) if shard is None]
            written = [shard for shard in finished if shard is not None]
            if not missing:
                self._publish(out, layout, written, rows, keep=part is not None)
            elif part is None:
                raise SourceError(f"{self.name}: shards vanished from {self.scratch} while others were written.")
            else:
                others = ", ".join(dict.fromkeys(str(part.of_shard(number)) for number in missing[:20]))
                log.info("%s: %d of %d shards are left to parts %s", self.name, len(missing), len(shards), others)
            self.summary.rows = len(plan.ids) if part is None else shards.rows(mine)
            own = [shard for number in mine if (shard := finished[number]) is not None]
            self.summary.bytes = sum(shard.bytes for shard in own)
            self.summary.failed = sum(len(shard.reasons()) for shard in own)
            self.summary.seconds = round(time.monotonic() - started, 3)
            self._write_journal()
        return self.summary

    def _write(self, mine: Sequence[int], shards: PlannedShards, layout: Layout, title: str) -> None:
        """Have the engine write those of these shards that are not finished."""
        finished = shards.finished()
        pending = [number for number in mine if finished[number] is None]
        self.summary.reused_shards = len(mine) - len(pending)
        if not pending:
            log.info("%s: all %d shards are cached, no backbone is run", title, len(mine))
            return
        rows, counts = shards.rows(pending), Counts(self.name, shards.total_rows, self._max_failure_rate)
        needed = self._engine.forecast(shards.plan_of(pending), layout)
        require_space(needed, self.scratch)
        log.info("%s: %d rows in %d shards to write, %.3f GB", title, rows, len(pending), needed / 1e9)
        progress: tqdm[Any]
        try:
            with tqdm(total=rows, desc=title, unit="row", smoothing=0.1, mininterval=1.0) as progress:
                self._engine.write(pending, shards, layout, counts, progress)
        finally:
            self.summary.encoded, self.summary.passes = counts.encoded, counts.passes
            self.summary.reused_rows = counts.reused

    def _publish(self, out: Path, layout: Layout, shards: Sequence[ScratchShard], shard_rows: int, keep: bool) -> None:
        """Make the store, one process at a time; with `keep` it stays as it is if another one has made it."""
        self._require_few_failures(shards)
        out.parent.mkdir(parents=True, exist_ok=True)
        place = digest_of([out.parent.stat().st_ino, out.name])[:32]  # a node may know the folder by another path
        claim = Claim.take(self.scratch, f"publish-{place}", wait=True)
        assert claim is not None
        with claim:
            if not (keep and holds(out, self.fingerprint, shards)):
                publish(out, self.fingerprint, layout.stored, shards, shard_rows, layout.notes)
        self.summary.published = True

    def _require_few_failures(self, shards: Sequence[ScratchShard]) -> None:
        """Parts and earlier runs counted only what failed in them."""
        reasons, folders = [], []
        for shard in shards:
            if found := shard.reasons():
                reasons += found
                folders.append(shard.folder)
        total = sum(shard.record.rows for shard in shards)
        if len(reasons) > self._max_failure_rate * total:
            raise SourceError(
                f"{self.name}: {len(reasons)} of {total} samples could not be encoded, more than "
                f"encode.max_failure_rate = {self._max_failure_rate:g} allows. The first reasons:\n{listed(reasons)}\n"
                "Fix the source, or raise encode.max_failure_rate in params.yaml. To try these samples again as they "
                f"are, delete the shards that hold them and run the same command: {_named(folders)}"
            )

    def _write_journal(self) -> None:
        append_line(self.scratch.parent / JOURNAL, json.dumps(asdict(self.summary), sort_keys=True))


def _named(folders: Sequence[Path], most: int = 3) -> str:
    return ", ".join(map(str, folders[:most])) + (f" and {len(folders) - most} more" if len(folders) > most else "")


def bounded_shard_rows(specs: Sequence[ArraySpec], shard_rows: int, limit: int = 512 << 20) -> int:
    """The largest shard length up to `shard_rows` whose arrays together stay within `limit` bytes."""
    row_bytes = sum(spec.sample_bytes for spec in specs)
    while shard_rows > 1 and shard_rows * row_bytes > limit:
        shard_rows = -(-shard_rows // 2)
    return shard_rows
