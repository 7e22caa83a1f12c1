"""Encodes single shards: what every engine runs, in its own process or in others."""

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.encoding.assembly import ShardRows
from pipeline.encoding.counts import Counts
from pipeline.encoding.plan import Plan
from pipeline.encoding.protocol import PrefetchingRowEncoder, RaggedRowEncoder, RowEncoder
from pipeline.encoding.remembered import recall, remember
from pipeline.encoding.rowcache import RowCache
from pipeline.features import ArraySpec, Fingerprint
from pipeline.features.quantised import stored_rows, stored_specs
from pipeline.features.scratch import scratch_folder
from pipeline.features.shards import ScratchShard, ShardWriter

_SAMPLE = 1000  # texts from whose lengths the total is estimated


@dataclass(frozen=True)
class Layout:
    """The arrays of a fingerprint.

    Attributes:
        made: as the encoder gives them.
        notes: further attributes of the store, e.g. the batch size.
    """

    made: tuple[ArraySpec, ...]
    notes: dict[str, object]

    @property
    def stored(self) -> list[ArraySpec]:
        """As they are stored: int8 arrays have scales beside them."""
        return stored_specs(self.made)


def remembered_layout(scratch: Path) -> Layout | None:
    """The layout that an earlier run has noted in the scratch folder."""
    stored = recall(scratch)
    if stored is None:
        return None
    specs = (ArraySpec(**(spec | {"row_shape": tuple(spec["row_shape"])})) for spec in stored["specs"])
    return Layout(tuple(specs), stored["notes"])


def forecast(plan: Plan, layout: Layout, tokens: Callable[[Sequence[str]], list[int]]) -> int:
    """Bytes that the rows of `plan` will take; where the number of tokens varies, estimated from a sample.

    Args:
        tokens: how many each of some texts has.
    """
    specs = layout.stored
    if not any(spec.ragged for spec in specs):
        return plan.stored_bytes(specs)
    mean = float(np.mean(tokens(plan.ids[:: -(-len(plan.ids) // _SAMPLE)])))
    return plan.stored_bytes([replace(s, most=math.ceil(mean * 1.1)) if s.ragged else s for s in specs])


class ShardEncoder:
    """Assembles shards of one fingerprint from cached rows and the backbone, and publishes them in the scratch folder.

    Args:
        fingerprint: of the features to write.
        load: makes the row encoder; called only if a row is not cached.
        scratch: where shards are kept, in place of the folder for all of the fingerprint.
    """

    def __init__(self, fingerprint: Fingerprint, load: Callable[[], RowEncoder], scratch: Path | None = None) -> None:
        self._fingerprint, self._load = fingerprint, load
        self._encoder: RowEncoder | None = None
        self.scratch: Path = scratch or scratch_folder(fingerprint.digest)

    def _row_encoder(self) -> RowEncoder:
        if self._encoder is None:
            self._encoder = self._load()
        return self._encoder

    def layout(self) -> Layout:
        """The arrays of this fingerprint, remembered so that a fully cached run need not load the backbone."""
        if (found := remembered_layout(self.scratch)) is not None:
            return found
        encoder = self._row_encoder()
        content = {"specs": [asdict(spec) for spec in encoder.specs], "notes": encoder.notes}
        remember(self.scratch, content | {"encoder": self._fingerprint.described.get("model")})
        return Layout(tuple(encoder.specs), encoder.notes)

    def tokens(self, ids: Sequence[str]) -> list[int]:
        """How many tokens each of some texts has, of an encoder with a ragged array."""
        encoder = self._row_encoder()
        assert isinstance(encoder, RaggedRowEncoder)
        return encoder.tokens(ids)

    def write(
        self,
        ids: Sequence[str],
        later: Iterable[Sequence[str]],
        shard_rows: int,
        layout: Layout,
        cache: RowCache,
        counts: Counts,
        publisher: Executor,
        progress: Callable[[int], object],
    ) -> Future[ScratchShard]:
        """Assemble one shard in memory and write it; `publisher` flushes it and publishes it in the scratch folder.

        So the backbone continues with the next shards, whose ids `later` gives, without waiting for the disk.

        Args:
            cache: rows of finished shards; whatever it has of `ids` is not encoded.
            progress: told how many rows are done.

        Raises:
            SourceError: too many samples cannot be read.
            StoreError: a value does not fit.
        """
        specs = layout.stored
        arrays = ShardRows(specs, len(ids))
        reasons: list[str | None] = [None] * len(ids)
        cached = cache.known(ids)
        if cached.any():
            rows = cache.take([identifier for identifier, hit in zip(ids, cached, strict=True) if hit])
            if rows is None:
                cached[:] = False
            else:
                arrays.put(np.flatnonzero(cached), rows)
                counts.reused += int(cached.sum())
                progress(int(cached.sum()))
        uncached = np.flatnonzero(~cached)
        if uncached.size:
            encoder = self._row_encoder()
            if isinstance(encoder, PrefetchingRowEncoder):
                encoder.prefetch(filter(None, (_uncached(following, cache) for following in later)))
            for batch in encoder.encode([ids[int(row)] for row in uncached]):
                rows_here = uncached[batch.positions]
                failed = np.array([reason is not None for reason in batch.reasons], dtype=bool)
                arrays.put(rows_here, stored_rows(batch.arrays, layout.made, failed))
                for row, reason in zip(rows_here.tolist(), batch.reasons, strict=True):
                    reasons[row] = reason
                counts.batch(batch.reasons)
                progress(len(batch.positions))
        with ShardWriter(self.scratch, specs, ids, shard_rows) as writer:
            writer.append(arrays.arrays(), reasons)
            return writer.finish_in_background(publisher)


def _uncached(ids: Sequence[str], cache: RowCache) -> list[str]:
    return [identifier for identifier, hit in zip(ids, cache.known(ids), strict=True) if not hit]
