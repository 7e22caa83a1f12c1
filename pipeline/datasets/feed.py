"""Turns samples into an index: checks every picture, sound and caption, and lists what is bad with the reason."""

from collections.abc import Sequence
from itertools import islice

from pipeline.config import RawSource
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.check import Item, Result, checked
from pipeline.datasets.further import reader
from pipeline.datasets.known import Checked, KnownImages
from pipeline.datasets.samples import Caption, Failure, Label, Picture, Sample, Source, wrong_with_sample
from pipeline.datasets.tally import Tally
from pipeline.errors import SourceError
from pipeline.languages import language_code
from pipeline.progress import tqdm
from pipeline.terminal import shown

MAX_CHARACTERS = 100_000  # of a caption; anything longer is a whole file by mistake
EARLY = 1000  # samples before which a source is not abandoned
SMALL = 100  # a smaller source may have as many failures as one of this size


def feed(
    source: Source, builder: IndexBuilder, limits: RawSource, known: KnownImages, bits: int | None = None
) -> Tally:
    """Index samples in their order, in memory that does not grow with their number; returns what became of them.

    Pictures and sounds are checked by a thread per core. What is in a file is referred to in place, the rest is stored
    in the index. A bad caption is left out and listed, and so is a sample whose picture or sound cannot be used, or
    without a caption and label.

    Args:
        known: the results of earlier runs.
        bits: of deep pictures, as for `decode_rgb`.

    Raises:
        SourceError: more samples failed than the limits allow, or none is good; the first reasons are named.
    """
    tally, where, failed = Tally(left_out=source.left_out, unit=source.unit), source.where, 0
    samples = 0
    wanted = map(_named, islice(source.samples, limits.limit or None))
    results = checked(wanted, known, limits.check == "decode", source.inside, tally.rewritten, bits)
    for item, media in tqdm(results, desc=shown(where), unit="row", mininterval=1):
        samples += 1
        tally.read += item.units
        reason = _recorded(item, builder) if isinstance(item, Failure) else _fed(item, media, builder, tally)
        if reason is None:
            tally.used += item.units
            continue
        tally.fail(reason, item.units)
        failed += 1
        if failed > limits.max_failure_rate * max(samples, EARLY):
            _stop(where, failed, f"{samples} samples so far", limits, builder)
    if not tally.used:
        raise SourceError(
            f"{where}: none of {samples} samples could be indexed."
            + (f" First reasons: {builder.first_failures()}." if failed else "")
            + _where_paths_start(limits, builder)
            + _others(tally)
        )
    if failed > limits.max_failure_rate * max(samples, SMALL):
        _stop(where, failed, f"{samples} samples", limits, builder)
    return tally


def _others(tally: Tally) -> str:
    """What lies there in place of samples."""
    listed = ", ".join(f"{number} x {reason}" for reason, number in tally.left_out.most_common(10))
    return f" Left out: {listed}." if listed else ""


def _recorded(failure: Failure, builder: IndexBuilder) -> str:
    builder.fail(failure.key, failure.reason)
    return failure.reason


def _named(item: Item) -> Item:
    """A failure in place of a sample with a name that no table and no file system can hold."""
    if isinstance(item, Failure):
        return item
    reason = wrong_with_sample(item)
    return item if reason is None else Failure(item.place or item.key, reason, item.units)


def _stop(where: str, failed: int, of: str, limits: RawSource, builder: IndexBuilder) -> None:
    raise SourceError(
        f"{where}: {failed} of {of} cannot be indexed, more than max_failure_rate = {limits.max_failure_rate:g} of "
        f"this data set allows. First reasons: {builder.first_failures(5)}. Fix the source, or raise max_failure_rate "
        f"in params.yaml.{_where_paths_start(limits, builder)}"
    )


def _where_paths_start(limits: RawSource, builder: IndexBuilder) -> str:
    """A hint for tables whose pictures lie in another folder."""
    unset = "images" in type(limits).model_fields and getattr(limits, "images", None) is None
    if not unset or "no such file" not in builder.first_failures(5):
        return ""
    return " Relative paths start at the folder of the table; name another one in `images` of this data set."


def _fed(sample: Sample, media: Sequence[Result], builder: IndexBuilder, tally: Tally) -> str | None:
    """Index one sample whose media were checked; the reason if it failed."""
    place = sample.place or sample.key
    for result in media:
        if isinstance(result, str):
            builder.fail(place, result)
            return result
    for problem in sample.problems:
        builder.fail(place, problem)
    captions, wrong = _usable(sample, place, builder, tally)
    if not captions and not sample.labels:
        if wrong is None:
            wrong = f"no caption and no label{sample.lacks and '; '}{sample.lacks}"
            builder.fail(place, wrong)
        return wrong
    found = iter(result for result in media if isinstance(result, Checked))
    picture = None if sample.picture is None else _with_picture(sample, sample.picture, next(found), builder)
    own_tables = builder.further[sample.modality]
    further = None if sample.further is None else _with_further(sample, sample.further, next(found), builder)
    if picture is not None and further is not None:
        own_tables.belongs(further, picture)
    tables = [(identity, own) for identity, own in ((picture, builder), (further, own_tables)) if identity]
    for caption in captions:
        text = builder.add_text(caption.text, caption.language, caption.role)
        for identity, own in tables:
            own.link(identity, text, caption.language, caption.role)
    for identity, own in tables:
        nameless = picture or identity  # a concept of its own, which a picture shares with its sound
        for label in sample.labels or [Label(None)]:
            own.label(identity, label.concept or nameless, label.classname, label.category, split=sample.split)
    return None


def _with_picture(sample: Sample, picture: Picture, checked: Checked, builder: IndexBuilder) -> str:
    if picture.path is not None:
        place = (sample.key, picture.offset, picture.length)
        builder.refer(checked.identity, str(picture.path), checked.size, *place)
    else:
        builder.store(checked.identity, picture.read(), checked.size, sample.key, form=checked.form)
    return checked.identity


def _with_further(sample: Sample, medium: Picture, checked: Checked, builder: IndexBuilder) -> str:
    info, tables = reader(sample.modality).told(checked), builder.further[sample.modality]
    if medium.path is not None:
        place = medium.offset, medium.length
        tables.refer(checked.identity, str(medium.path), info, sample.key, "", None, *place)
    else:
        tables.store(checked.identity, medium.read(), info, sample.key, "")
    return checked.identity


def _usable(sample: Sample, place: str, builder: IndexBuilder, tally: Tally) -> tuple[list[Caption], str | None]:
    """The captions that can be used, and what is wrong with the first other one; all of those are listed.

    A language that is written in several forms is one; the table says which.
    """
    usable: list[Caption] = []
    first = None
    for number, caption in enumerate(sample.captions, start=1):
        reason = wrong_with(caption.text)
        if reason is None:
            language = language_code(caption.language) or caption.language
            if language != caption.language:
                tally.rewrite(f"captions: {caption.language!r} is {language}")
            usable.append(Caption(caption.text.strip(), language, caption.role))
        else:
            builder.fail(place, reason if len(sample.captions) == 1 else f"caption {number}: {reason}")
            first = first or reason
    return usable, first


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
