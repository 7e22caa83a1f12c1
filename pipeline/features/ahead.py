"""Makes the next items in the background while the current one is used."""

import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class _Made(Generic[Item]):
    item: Item


@dataclass(frozen=True)
class _Ended:
    error: BaseException | None = None


def ahead(items: Iterable[Item], depth: int) -> Generator[Item, None, None]:
    """The same items in the same order, up to `depth` of them made in advance by a thread.

    The thread starts with the first item requested. It begins an item only when fewer than `depth` wait, so with a
    depth of 1 items may alternate between two buffers: an item is not overwritten before the one after it is
    requested. An error in `items` is raised where the item that failed would have come. When the
    consumer stops early (`close`, or the iterator is dropped), the thread ends after the item that it is making, and
    `items` is closed.
    """
    if depth < 1:
        raise ValueError(f"depth is at least 1, found {depth}")
    slots, stop = threading.Semaphore(depth), threading.Event()
    ready: SimpleQueue[_Made[Item] | _Ended] = SimpleQueue()

    def work() -> None:
        iterator = iter(items)
        try:
            while slots.acquire() and not stop.is_set():
                ready.put(_Made(next(iterator)))
        except StopIteration:
            ready.put(_Ended())
        except BaseException as error:
            ready.put(_Ended(error))
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="read-ahead", daemon=True)
    thread.start()
    try:
        while True:
            result = ready.get()
            if isinstance(result, _Ended):
                if result.error is not None:
                    raise result.error
                return
            slots.release()
            yield result.item
            del result  # or it would outlive its successor's making
    finally:
        stop.set()
        slots.release()
        thread.join()
