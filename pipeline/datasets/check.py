"""Reads, identifies and decodes pictures and sounds, once each, with a thread per core, a block of samples ahead."""

import os
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.datasets.decode import check_image
from pipeline.datasets.further import reader
from pipeline.datasets.known import Checked, KnownImages
from pipeline.datasets.nearest import Missing, may_be_another, rewritten, same_file
from pipeline.datasets.plain_files import Inside
from pipeline.datasets.samples import Failure, Picture, Sample
from pipeline.datasets.tables import image_id
from pipeline.errors import DataError

Item = Sample | Failure
Result = Checked | str  # the checked picture or sound, or why it cannot be used

_BLOCK, _BLOCK_BYTES = 256, 64 << 20  # samples, and bytes of pictures, checked together
_RECENT = 4096  # pictures remembered within a run: a table may name one in several rows
_Place = tuple[str, Path, int, int]


@dataclass(slots=True)
class _Slot:
    """The place of the result of a picture or a sound."""

    result: Result | None = None


@dataclass(slots=True)
class _Task:
    slot: _Slot
    content: bytes
    place: bytes | None
    modality: str  # of `FURTHER`; "" of a picture


@dataclass(slots=True)
class _Block:
    items: list[tuple[Item, list[_Slot]]] = field(default_factory=list)
    tasks: list[_Task] = field(default_factory=list)
    checking: list[Future[list[Result]]] = field(default_factory=list)


def checked(
    items: Iterable[Item],
    known: KnownImages,
    whole: bool,
    inside: Inside | None = None,
    others: Counter[str] | None = None,
    bits: int | None = None,
) -> Iterator[tuple[Item, list[Result]]]:
    """Each item in order, with the results for its media, picture before sound; none for a failure.

    Args:
        whole: decode pictures completely; else read only their headers.
        inside: what pictures with a path may not lead out of.
        others: counts paths that are read otherwise than they are written, see `rewritten`.
        bits: of deep pictures, as for `decode_rgb`.
    """
    others = Counter() if others is None else others
    workers = os.cpu_count() or 1
    before = _Block()
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        for block in _blocks(items, known, inside, others):
            _begin(block, pool, workers, whole, bits)
            yield from _end(before, known)
            before = block
        yield from _end(before, known)


def _blocks(items: Iterable[Item], known: KnownImages, inside: Inside | None, others: Counter[str]) -> Iterator[_Block]:
    """Items in blocks; pictures without a cached result have been read."""
    recent: OrderedDict[_Place, _Slot] = OrderedDict()
    block, held, missing = _Block(), 0, Missing()
    for item in items:
        slots = []
        if isinstance(item, Sample):
            item = _existing(item, inside, others)
            for medium in item.media:
                slot, modality = _Slot(), item.modality if medium is item.further else ""
                place = None if medium.path is None else (modality, medium.path, medium.offset, medium.length)
                if place is not None and place in recent:
                    slot = recent[place]
                else:
                    held += _take(medium, modality, slot, block, known, missing, inside)
                    if place is not None:
                        recent[place] = slot
                        if len(recent) > _RECENT:
                            recent.popitem(last=False)
                slots.append(slot)
        block.items.append((item, slots))
        if len(block.items) >= _BLOCK or held >= _BLOCK_BYTES:
            yield block
            block, held = _Block(), 0
    yield block


def _existing(item: Sample, inside: Inside | None, others: Counter[str]) -> Sample:
    """The sample with the paths that exist, where they are written in another Unicode form or for another system."""
    picture, further = (
        None if medium is None else _existing_file(medium, inside, others) for medium in (item.picture, item.further)
    )
    same = picture is item.picture and further is item.further
    return item if same else replace(item, picture=picture, further=further)


def _existing_file(medium: Picture, inside: Inside | None, others: Counter[str]) -> Picture:
    path = medium.path
    if path is None or medium.fetch is not None or not may_be_another(path):
        return medium
    try:
        if os.path.lexists(path):
            return medium
        there = same_file(path)
        if there is None and (found := rewritten(path)) and not (inside and inside.wrong_with(found[0])):
            there = found[0]
            others[f"paths: {found[1]}"] += 1
    except (OSError, ValueError):
        return medium
    return medium if there is None else replace(medium, path=there)


def _take(
    picture: Picture,
    modality: str,
    slot: _Slot,
    block: _Block,
    known: KnownImages,
    missing: Missing,
    inside: Inside | None,
) -> int:
    """Fill the slot from the cache, or read the picture or sound for a check; returns the bytes held for it."""
    if inside is not None and picture.path is not None:
        slot.result = inside.wrong_with(picture.path)
        if slot.result is not None:
            return 0
    place = known.place(picture, modality)
    slot.result = known.get(place)
    if slot.result is not None:
        return 0
    try:
        content = picture.read()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and picture.path is not None:
            slot.result = missing.reason(picture.path)
        else:
            slot.result = f"cannot be read: {error.strerror or error}"
        return 0
    except (DataError, ValueError) as error:  # a truncated archive; a path with a zero byte
        slot.result = f"cannot be read: {error}"
        return 0
    except MemoryError:
        slot.result = "cannot be read: the memory does not suffice"
        return 0
    block.tasks.append(_Task(slot, content, place, modality))
    return len(content)


def _begin(block: _Block, pool: Executor, workers: int, whole: bool, bits: int | None) -> None:
    share = max(1, -(-len(block.tasks) // workers))
    for start in range(0, len(block.tasks), share):
        block.checking.append(pool.submit(_check_all, block.tasks[start : start + share], whole, bits))


def _end(block: _Block, known: KnownImages) -> Iterator[tuple[Item, list[Result]]]:
    results = (result for future in block.checking for result in future.result())
    for task, result in zip(block.tasks, results, strict=True):
        task.slot.result = result
        if isinstance(result, Checked):
            known.put(task.place, result)
    for item, slots in block.items:
        yield item, [slot.result for slot in slots if slot.result is not None]


def _check_all(tasks: Sequence[_Task], whole: bool, bits: int | None) -> list[Result]:
    return [_check(task.content, task.modality, whole, bits) for task in tasks]


def _check(content: bytes, modality: str, whole: bool, bits: int | None) -> Result:
    try:
        if modality:
            return reader(modality).check(content, whole).checked(image_id(content))
        size, form = check_image(content, whole, bits)
    except DataError as error:
        return str(error)
    return Checked(image_id(content), size, form)
