"""How fast the nodes of a cluster encode."""

import time
from collections import Counter
from collections.abc import Callable, Iterable

_SHOWN = 4  # nodes


class NodeRates:
    """Rows per second by node, since the first worker of the node was asked for a shard."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[str, float] = {}
        self._ended: dict[str, float] = {}
        self._rows: Counter[str] = Counter()
        self._shards: Counter[str] = Counter()

    def began(self, node: str) -> None:
        """A worker of the node was asked for a shard."""
        self._began.setdefault(node, self._clock())

    def finished(self, node: str, rows: int) -> None:
        """A worker of the node has written a shard."""
        self._rows[node] += rows
        self._shards[node] += 1
        self._ended[node] = self._clock()

    def rate(self, node: str) -> float:
        """Rows a second up to the last shard."""
        seconds = self._ended.get(node, 0.0) - self._began.get(node, 0.0)
        return self._rows[node] / seconds if self._rows[node] and seconds > 0 else 0.0

    def now(self, workers: Iterable[str]) -> str:
        """One phrase for all nodes, given the node of every worker."""
        counts = Counter(workers)
        parts = [
            f"{node}: {count} x {self.rate(node) / count:.3g}/s" for node, count in sorted(counts.items())[:_SHOWN]
        ]
        more = [f"{len(counts) - _SHOWN} more nodes"] if len(counts) > _SHOWN else []
        return ", ".join(parts + more) or "no worker yet"

    def lines(self) -> list[str]:
        """A line for each node that has done anything."""
        return [
            f"{node}: {self._shards[node]} shards, {self._rows[node]} rows, {self.rate(node):.3g} rows/s"
            for node in sorted(self._rows)
        ]
