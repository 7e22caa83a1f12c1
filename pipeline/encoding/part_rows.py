"""What the row encoders of modalities that go on in time have in common: batches, reasons and ragged arrays."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import torch

from pipeline.config import EncodeParams
from pipeline.encoding.batch_size import resolved_batch_size
from pipeline.encoding.protocol import Batch
from pipeline.encoding.rows import NOT_FINITE
from pipeline.encoding.workers import OrderedWorkers, count_workers
from pipeline.features import ArraySpec
from pipeline.features.ragged import LENGTH

Placed = tuple[tuple[int, ...], tuple[str, ...]]  # where the rows of a batch belong, and their ids
Arrays = dict[str, np.ndarray]


class PartRows:
    """A `PrefetchingRowEncoder` whose rows are encoded in batches by threads.

    Attributes:
        batch_size: parts in a pass.
    """

    def __init__(
        self, specs: tuple[ArraySpec, ...], notes: Mapping[str, object], params: EncodeParams, device: str
    ) -> None:
        self.specs = specs
        self.batch_size = resolved_batch_size(params.batch_size)
        self.notes: dict[str, object] = {**notes, "batch_size": self.batch_size}
        self._workers = OrderedWorkers(self._encode, count_workers(params.workers, device))
        self._later: Iterable[Sequence[str]] = ()

    def rows(self, ids: Sequence[str]) -> tuple[list[Arrays | None], list[str | None]]:
        """The arrays of some rows, float32, and of those without any the reason."""
        raise NotImplementedError

    def sizes(self, ids: Sequence[str]) -> list[int]:
        """How many parts each row has, which `batch_size` counts; one each unless a subclass knows it."""
        return [1] * len(ids)

    def prefetch(self, later: Iterable[Sequence[str]]) -> None:
        """See `PrefetchingRowEncoder`."""
        self._later = later

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`."""
        following = (batch for shard in self._later for batch in self._batches(shard))
        return self._workers.results(list(self._batches(ids)), following)

    def _batches(self, ids: Sequence[str]) -> Iterator[Placed]:
        """Neighbouring rows that have as many parts together as a batch; a row with more is one of its own."""
        held: list[int] = []
        parts = 0
        for position, count in enumerate(self.sizes(ids)):
            if held and parts + count > self.batch_size:
                yield tuple(held), tuple(ids[place] for place in held)
                held, parts = [], 0
            held.append(position)
            parts += count
        if held:
            yield tuple(held), tuple(ids[place] for place in held)

    def _encode(self, placed: Placed) -> Batch:
        positions, ids = placed
        rows, reasons = self.rows(ids)
        for place, row in enumerate(rows):
            if row is not None and not all(np.isfinite(values).all() for values in row.values()):
                reasons[place], rows[place] = NOT_FINITE, None
        return Batch(list(positions), dict(self._joined(rows)), reasons)

    def _joined(self, rows: Sequence[Arrays | None]) -> Iterator[tuple[str, np.ndarray]]:
        """The arrays of a batch; rows without features are NaN, or have no tokens."""
        for spec in self.specs:
            nothing = (0, *spec.row_shape) if spec.ragged else spec.row_shape
            blank = np.full(nothing, np.nan, np.float32)
            each = [blank if row is None else row[spec.name] for row in rows]
            if spec.ragged:
                yield spec.name, np.concatenate(each)
                yield spec.name + LENGTH, np.array([len(values) for values in each], np.int64)
            else:
                yield spec.name, np.stack(each)


def means_over_parts(frames: np.ndarray, count: int) -> np.ndarray:
    """Means (count, D) over equal parts of the time, as adaptive average pooling has them, of frames (T, D)."""
    pooled = torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(np.ascontiguousarray(frames.T))[None], count)
    parts: np.ndarray = pooled[0].T.contiguous().numpy()
    return parts
