"""Turns samples into an index: checks every picture and caption, and lists what is bad with the reason."""

from collections.abc import Iterable, Iterator
from itertools import islice

from tqdm import tqdm

from pipeline.config import RawSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.check import Item, Result, checked
from pipeline.datasets.known import KnownImages
from pipeline.datasets.samples import Caption, Failure, Sample
from pipeline.errors import SourceError

MAX_CHARACTERS = 100_000  # of a caption; anything longer is a whole file by mistake
EARLY = 1000  # samples before which a source is not abandoned
SMALL = 100  # a smaller source may have as many failures as one of this size


def feed(samples: Iterable[Item], builder: IndexBuilder, limits: RawSource, where: str, known: KnownImages) -> int:
    """Index samples in their order, in memory that does not grow with their number; returns how many there were.

    Pictures are checked by a thread per core. A picture in a file is referred to in place, others are stored in the
    index. A bad caption is left out and listed, and so is a sample without a usable picture, or without a caption
    and label.

    Args:
        where: the source, for messages.
        known: the results of earlier runs.

    Raises:
        SourceError: more samples failed than the limits allow, or none is good; the first reasons are named.
    """
    seen, failed, fed = 0, 0, 0
    wanted = islice(samples, limits.limit or None)
    for item, result in tqdm(checked(wanted, known, limits.check == "decode"), desc=where, unit="row", mininterval=1):
        seen += 1
        if isinstance(item, Failure):
            builder.fail(item.key, item.reason)
            failed += 1
        elif _fed(item, result, builder):
            fed += 1
        else:
            failed += 1
        if failed > limits.max_failure_rate * max(seen, EARLY):
            _stop(where, failed, f"{seen} samples so far", limits, builder)
    if not fed:
        raise SourceError(
            f"{where}: none of {seen} samples could be indexed."
            + (f" First reasons: {builder.first_failures()}" if failed else "")
        )
    if failed > limits.max_failure_rate * max(seen, SMALL):
        _stop(where, failed, f"{seen} samples", limits, builder)
    return seen


def _stop(where: str, failed: int, of: str, limits: RawSource, builder: IndexBuilder) -> None:
    raise SourceError(
        f"{where}: {failed} of {of} cannot be indexed, more than max_failure_rate = {limits.max_failure_rate:g} of "
        f"this data set allows. First reasons: {builder.first_failures(5)}. Fix the source, or raise max_failure_rate "
        "in params.yaml."
    )


def _fed(sample: Sample, result: Result | None, builder: IndexBuilder) -> bool:
    """Index one sample whose picture was checked; False if it failed."""
    assert result is not None, "every sample has a result"
    place = sample.place or sample.key
    if isinstance(result, str):
        builder.fail(place, result)
        return False
    for problem in sample.problems:
        builder.fail(place, problem)
    captions = list(_usable(sample, place, builder))
    if not captions and not sample.labels:
        if not sample.captions:
            builder.fail(place, f"no caption and no label{sample.lacks and '; '}{sample.lacks}")
        return False
    picture = sample.picture
    if picture.path is not None:
        builder.refer(result.identity, str(picture.path), result.size, sample.key, picture.offset, picture.length)
    else:
        builder.store(result.identity, picture.read(), result.size, sample.key, form=result.form)
    for caption in captions:
        text = builder.add_text(caption.text, caption.language, caption.role)
        builder.link(result.identity, text, caption.language, caption.role)
    for label in sample.labels:
        builder.label(
            result.identity, label.concept or result.identity, label.classname, label.category, split=sample.split
        )
    if not sample.labels:
        builder.label(result.identity, result.identity, split=sample.split)
    return True


def _usable(sample: Sample, place: str, builder: IndexBuilder) -> Iterator[Caption]:
    for number, caption in enumerate(sample.captions, start=1):
        reason = wrong_with(caption.text)
        if reason is None:
            yield Caption(caption.text.strip(), caption.language, caption.role)
        else:
            builder.fail(place, reason if len(sample.captions) == 1 else f"caption {number}: {reason}")


def wrong_with(text: str) -> str | None:
    """Why a text cannot be a caption, or None."""
    if not text.strip():
        return "empty caption"
    if len(text) > MAX_CHARACTERS:
        return f"caption of {len(text)} characters; at most {MAX_CHARACTERS}"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "caption is not valid UTF-8"
    return None
