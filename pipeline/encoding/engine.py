"""What runs the pending shards of a store: this process, or workers of a cluster. All end in the same bytes."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.encoding.counts import Counts
from pipeline.encoding.plan import Plan
from pipeline.encoding.planned import PlannedShards
from pipeline.encoding.shard_encoder import Layout


class Progress(Protocol):
    """What an engine tells while it works; a `pipeline.progress.tqdm`."""

    def update(self, n: float | None = 1) -> object:
        """So many rows more are done."""
        ...

    def set_description_str(self, desc: str | None = None, refresh: bool | None = True) -> None:
        """What stands before the numbers."""
        ...


class Engine(Protocol):
    """Encodes the shards that are not finished."""

    def layout(self) -> Layout:
        """The arrays of the fingerprint; an encoder is loaded only if nobody has noted them yet."""
        ...

    def forecast(self, plan: Plan, layout: Layout) -> int:
        """Bytes that the rows of `plan` will take."""
        ...

    def write(
        self, pending: Sequence[int], shards: PlannedShards, layout: Layout, counts: Counts, progress: Progress
    ) -> None:
        """Finish these shards, by number, or wait until another process has.

        Raises:
            SourceError: too many samples cannot be read.
            StoreError: a value does not fit.
        """
        ...
