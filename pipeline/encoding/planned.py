"""The fixed list of the shards of one store, and which of them are finished."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.encoding.plan import Plan
from pipeline.features.shards import ScratchShard, shard_key
from pipeline.ids import Ids


class PlannedShards:
    """The shards of a plan by number; a number means the same ids to everybody who has the same index and view.

    Args:
        scratch: where they are kept.

    Attributes:
        keys: the name of each.
    """

    def __init__(self, scratch: Path, plan: Plan) -> None:
        self.scratch, self._plan = scratch, plan
        self.keys = [shard_key(self.ids(number), plan.shard_rows) for number in range(plan.shard_count)]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def shard_rows(self) -> int:
        """Rows of a whole shard."""
        return self._plan.shard_rows

    @property
    def total_rows(self) -> int:
        """Rows of all of them."""
        return len(self._plan.ids)

    def ids(self, number: int) -> tuple[str, ...]:
        """The ids of one shard, in order."""
        return self._plan.shard(number)

    def rows(self, numbers: Iterable[int]) -> int:
        """How many ids some shards hold."""
        last = len(self) - 1
        return sum(self.shard_rows if number < last else len(self.ids(last)) for number in numbers)

    def ids_of(self, numbers: Iterable[int]) -> Ids:
        """The ids of some shards, in turn."""
        size, wanted = self.shard_rows, list(numbers)
        if wanted and wanted == list(range(wanted[0], wanted[0] + len(wanted))):
            same_memory: Ids = self._plan.ids[wanted[0] * size : (wanted[-1] + 1) * size]
            return same_memory
        return Ids.joined(self._plan.ids[number * size : (number + 1) * size] for number in wanted)

    def plan_of(self, numbers: Iterable[int]) -> Plan:
        """A plan of some shards alone."""
        return Plan(self.ids_of(numbers), self.shard_rows)

    def find(self, number: int) -> ScratchShard | None:
        """A shard if it is finished."""
        return ScratchShard.find(self.scratch / self.keys[number])

    def finished(self) -> list[ScratchShard | None]:
        """Every shard, None where it is not finished.

        The folder is listed first: a network file system may still remember that a shard was not there, and
        opening the folder makes it ask again.
        """
        here = {path.name for path in self.scratch.iterdir()}
        return [self.find(number) if key in here else None for number, key in enumerate(self.keys)]
