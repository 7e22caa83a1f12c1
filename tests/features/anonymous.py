"""Anonymous memory, which unlike the page cache cannot be given back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def anonymous() -> int:
    """Bytes of anonymous memory of this process (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) * 1024


@contextmanager
def watched() -> Iterator[list[int]]:
    """By how many bytes it rises above what it was at the start: a list that grows every millisecond."""
    before, risen, done = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            risen.append(anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield risen
        risen.append(anonymous() - before)
    finally:
        done.set()
        watcher.join()
