"""What an encode has done so far, and when too many samples have failed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.errors import SourceError

_SHOWN = 5  # reasons


@dataclass
class Counts:
    """Rows and passes of one process, or of all that work for it.

    Args:
        name: the store, for messages.
        total: rows of the whole store.
        max_failure_rate: share of `total` that may fail.

    Attributes:
        encoded: rows that went through the backbone.
        passes: forward passes.
        reused: rows that were taken from finished shards.
        failed: of those encoded, rows without features.
        reasons: the first few reasons for that.
    """

    name: str
    total: int
    max_failure_rate: float
    encoded: int = 0
    passes: int = 0
    reused: int = 0
    failed: int = 0
    reasons: list[str] = field(default_factory=list)

    def batch(self, reasons: Sequence[str | None]) -> None:
        """Count one forward pass; per row, why it has no features, or None.

        Raises:
            SourceError: too many rows have failed.
        """
        self.passes += 1
        self.encoded += len(reasons)
        self._fail([reason for reason in reasons if reason is not None])

    def add(self, other: "Counts") -> None:
        """Count what a worker did.

        Raises:
            SourceError: too many rows of all workers have failed.
        """
        self.passes += other.passes
        self.encoded += other.encoded
        self.reused += other.reused
        self._fail(other.reasons, other.failed)

    def _fail(self, reasons: Sequence[str], failed: int | None = None) -> None:
        self.failed += len(reasons) if failed is None else failed
        self.reasons += reasons[: max(0, _SHOWN - len(self.reasons))]
        if self.failed > self.max_failure_rate * self.total:
            raise SourceError(
                f"{self.name}: {self.failed} of {self.encoded} samples so far cannot be encoded, more "
                f"than encode.max_failure_rate = {self.max_failure_rate:g} of {self.total} allows. The first reasons:\n"
                f"{listed(self.reasons)}\nFix the source, or raise encode.max_failure_rate in params.yaml."
            )


def listed(reasons: Sequence[str]) -> str:
    """The first few of some reasons, a line each."""
    return "\n".join(f"  {reason}" for reason in reasons[:_SHOWN])
