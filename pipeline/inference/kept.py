"""What an aligner computed for a caller and may need again, up to a number of bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """Values by key, the one used longest ago dropped first.

    Args:
        most: bytes that may be kept; a larger value is computed every time.
        size: bytes of a value.
    """

    def __init__(self, most: int, size: Callable[[Value], int]) -> None:
        self._most, self._size = most, size
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def clear(self) -> None:
        """Keep nothing."""
        self._values.clear()

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`, made where it is not kept."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = make()
        if self._size(value) > self._most:
            return value
        self._values[key] = value
        while sum(map(self._size, self._values.values())) > self._most:
            self._values.popitem(last=False)
        return value
