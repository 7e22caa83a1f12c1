"""Pictures are read, identified and decoded once, by a thread per core, a block of samples ahead of the index."""

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.decode import check_image
from pipeline.datasets.known import Checked, KnownImages
from pipeline.datasets.samples import Failure, Picture, Sample
from pipeline.datasets.tables import image_id
from pipeline.errors import DataError

Item = Sample | Failure
Found = Checked | str  # what a picture is, or the reason why it is none

_BLOCK, _BLOCK_BYTES = 256, 64 << 20  # samples, and bytes of pictures, that are checked together
_RECENT = 4096  # pictures that are remembered within a run: a table may name one in several rows
_Place = tuple[Path, int, int]


@dataclass(slots=True)
class _Slot:
    """A picture and, once it is checked, what it is."""

    found: Found | None = None


@dataclass(slots=True)
class _Task:
    slot: _Slot
    content: bytes
    place: bytes | None


@dataclass(slots=True)
class _Block:
    items: list[tuple[Item, _Slot]] = field(default_factory=list)
    tasks: list[_Task] = field(default_factory=list)
    checking: list[Future[list[Found]]] = field(default_factory=list)


def checked(items: Iterable[Item], known: KnownImages, whole: bool) -> Iterator[tuple[Item, Found | None]]:
    """Each item in order, with what its picture is; None for a failure.

    Args:
        whole: decode pictures to the end; else read their headers alone.
    """
    workers = os.cpu_count() or 1
    before = _Block()
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        for block in _blocks(items, known):
            _begin(block, pool, workers, whole)
            yield from _end(before, known)
            before = block
        yield from _end(before, known)


def _blocks(items: Iterable[Item], known: KnownImages) -> Iterator[_Block]:
    """Items in blocks; pictures that are not known yet have been read."""
    recent: OrderedDict[_Place, _Slot] = OrderedDict()
    block, held = _Block(), 0
    for item in items:
        slot = _Slot()
        if isinstance(item, Sample):
            place = None if item.picture.path is None else (item.picture.path, item.picture.offset, item.picture.length)
            if place is not None and place in recent:
                slot = recent[place]
            else:
                held += _take(item.picture, slot, block, known)
                if place is not None:
                    recent[place] = slot
                    if len(recent) > _RECENT:
                        recent.popitem(last=False)
        block.items.append((item, slot))
        if len(block.items) >= _BLOCK or held >= _BLOCK_BYTES:
            yield block
            block, held = _Block(), 0
    yield block


def _take(picture: Picture, slot: _Slot, block: _Block, known: KnownImages) -> int:
    """Fill the slot from memory, or read the picture for a check; gives the bytes that are held for it."""
    place = known.place(picture)
    slot.found = known.get(place)
    if slot.found is not None:
        return 0
    try:
        content = picture.read()
    except OSError as error:
        slot.found = "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        return 0
    except (DataError, ValueError) as error:  # an archive that breaks off; a path with a zero byte
        slot.found = f"cannot be read: {error}"
        return 0
    block.tasks.append(_Task(slot, content, place))
    return len(content)


def _begin(block: _Block, pool: Executor, workers: int, whole: bool) -> None:
    share = max(1, -(-len(block.tasks) // workers))
    for start in range(0, len(block.tasks), share):
        contents = [task.content for task in block.tasks[start : start + share]]
        block.checking.append(pool.submit(_check_all, contents, whole))


def _end(block: _Block, known: KnownImages) -> Iterator[tuple[Item, Found | None]]:
    found = (found for future in block.checking for found in future.result())
    for task, result in zip(block.tasks, found, strict=True):
        task.slot.found = result
        if isinstance(result, Checked):
            known.put(task.place, result)
    for item, slot in block.items:
        yield item, slot.found


def _check_all(contents: Sequence[bytes], whole: bool) -> list[Found]:
    return [_check(content, whole) for content in contents]


def _check(content: bytes, whole: bool) -> Found:
    try:
        size, form = check_image(content, whole)
    except DataError as error:
        return str(error)
    return Checked(image_id(content), size, form)
