"""Which kind of index serves some vectors in some memory."""

import math
from dataclasses import dataclass
from typing import Literal

import psutil

from pipeline.errors import DataError

Kind = Literal["flat", "ivf-sq8", "ivf-pq"]
KINDS: tuple[Kind, ...] = ("flat", "ivf-sq8", "ivf-pq")
FLAT_ROWS = 50_000  # a scan of fewer takes milliseconds
CENTROIDS = 256  # of each part of a product quantiser, whose codes have 8 bits
_ROW_BYTES = 8  # a position
_FEWEST_LISTS, _MOST_LISTS = 4, 65536
_LONGEST_PART = 16  # numbers that one byte of a product quantiser stands for, at most


@dataclass(frozen=True)
class Plan:
    """The form of an index.

    Attributes:
        kind: "flat" is no index but the exact scan; "ivf-sq8" keeps a byte for each number of a vector, "ivf-pq" one
            for several numbers together. Both hold vectors in lists by the nearest of some centroids.
        lists: how many; 0 of a flat one.
        code: bytes of the code of a vector; 0 of a flat one.
    """

    kind: Kind
    lists: int
    code: int

    def bytes(self, rows: int, width: int) -> int:
        """Memory of the index without the vectors themselves, which stay in their files."""
        if self.kind == "flat":
            return 0
        books = CENTROIDS * width * 4 if self.kind == "ivf-pq" else 2 * width * 4
        return rows * (self.code + _ROW_BYTES) + self.lists * width * 4 + books


def plan_index(
    rows: int, width: int, *, kind: Kind | None = None, memory: int | None = None, lists: int | None = None
) -> Plan:
    """The most exact kind that fits.

    Args:
        kind: the one that is wanted; where None, flat for few rows, else 8 bits a number, else a product quantiser.
        memory: bytes that the index may take; half of what is free where None.
        lists: of vectors; about twice the square root of the rows where None, as a power of two.

    Raises:
        DataError: nothing fits, the message says what would; or an impossible argument.
    """
    if kind is not None and kind not in KINDS:
        raise DataError(f"The kind of an index must be one of {', '.join(KINDS)}, found {kind!r}.")
    if kind == "flat" or (kind is None and rows < FLAT_ROWS):
        return Plan("flat", 0, 0)
    budget = psutil.virtual_memory().available // 2 if memory is None else memory
    wanted = _lists(rows) if lists is None else lists
    if not 1 <= wanted <= rows:
        raise DataError(f"An index of {rows} rows can have 1 to {rows} lists, found {wanted}.")
    plans = []
    if kind in (None, "ivf-sq8"):
        plans.append(Plan("ivf-sq8", wanted, width))
    if kind in (None, "ivf-pq") and rows >= CENTROIDS:
        plans += [Plan("ivf-pq", wanted, parts) for parts in _parts(width)]
    if not plans:
        raise DataError(f"A product quantiser needs at least {CENTROIDS} rows, found {rows}. Choose another kind.")
    for plan in plans:
        if plan.bytes(rows, width) <= budget:
            return plan
    least = plans[-1].bytes(rows, width)
    raise DataError(
        f"An index of {rows:,} vectors of {width} numbers takes at least {least / 1e6:,.0f} MB, allowed are "
        f"{budget / 1e6:,.0f} MB. Allow more memory, or search without an index, which takes none."
    )


def _lists(rows: int) -> int:
    power: int = 1 << max(0, round(math.log2(2 * math.sqrt(max(rows, 1)))))
    return min(max(power, _FEWEST_LISTS), _MOST_LISTS, rows)


def _parts(width: int) -> list[int]:
    """Numbers of parts of a product quantiser, most exact first: two numbers a byte, then three, four, ..."""
    return [width // size for size in range(2, min(_LONGEST_PART, width) + 1) if width % size == 0] or [width]
