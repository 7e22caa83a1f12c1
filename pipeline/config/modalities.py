"""The two sides of an aligner: what may stand on each, in which order, and what is said otherwise.

A side keeps the name of its place, "image" for the first view and "text" for the second. Pictures stand first and texts
second; sounds, and other modalities of `FURTHER`, stand second beside pictures and first beside texts.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pipeline.config.encoders import EncoderSpec
from pipeline.config.further import FURTHER, WITHOUT_WEIGHTS
from pipeline.config.heads import AutoHead, FittedHead, IdentityHead
from pipeline.config.view_base import FurtherView

if TYPE_CHECKING:
    from pipeline.config.aligners import AlignerSpec
    from pipeline.config.params import Params

DEFAULT: Final = ("image", "text")  # what the sides are called, and what stands there unless views say otherwise
ORDER: Final = ("image", *FURTHER, "text")  # of the views of an aligner
SIDES: Final = (("image", *FURTHER), (*FURTHER, "text"))  # what may stand first, and second
CALLED: Final = {"image": "image", "text": "text"} | {name: one.called for name, one in FURTHER.items()}


def one(modality: str) -> str:
    """What a sample of a modality is called."""
    return CALLED.get(modality, modality)


def many(modality: str) -> str:
    """What several samples of a modality are called."""
    return f"{one(modality)}s"


def further_problems(where: str, aligner: "AlignerSpec", params: "Params") -> Iterator[str]:
    """A further modality on the wrong side, and what a head cannot take of it."""
    modalities = [params.modality(view) for view in aligner.views]
    yield from _selection(where, aligner, modalities[0], params)
    if not FURTHER.keys() & {*modalities}:
        if aligner.kinds and None not in modalities:
            yield f"`{where}.kinds` are kinds of sounds, and its views are of images and texts: leave it out."
        return
    yield from _order(where, aligner, modalities)
    head = aligner.head
    if isinstance(head, IdentityHead):
        return
    for place, name in enumerate(aligner.views):
        for member in params.members(name):
            view = params.stored_views.get(member)
            if not isinstance(view, FurtherView):
                continue
            encoder = params.encoders.get(view.encoder)
            if place == 0:
                yield from _first(f"{where}.head", head, member, view, encoder)
            elif head.text_tokens == "full" and view.tier != "full":
                yield f"`{where}.head.text_tokens` is full, so its view {member!r} needs `tier: full`."


def _order(where: str, aligner: "AlignerSpec", modalities: Sequence[str | None]) -> Iterator[str]:
    one, other = modalities
    if one == other:
        yield f"`{where}.views` joins {many(str(one))} with {many(str(other))}: name views of two modalities."
    elif one in ORDER and other in ORDER and ORDER.index(one) > ORDER.index(other):
        yield (
            f"`{where}.views` is [{', '.join(aligner.views)}]: write [{', '.join(aligner.views[::-1])}], as views "
            f"stand in the order {', '.join(map(many, ORDER))}."
        )


def _selection(where: str, aligner: "AlignerSpec", first: str | None, params: "Params") -> Iterator[str]:
    """A curation selects samples of the first side."""
    if first is None or aligner.data not in params.curations:
        return
    selected = params.modality(params.curations[aligner.data].view)
    if selected not in (None, first) and first != "text":
        yield (
            f"`{where}.data` is {aligner.data!r}, a selection of {many(str(selected))}, and its first view is of "
            f"{many(first)}: name a curation whose `view` is of those."
        )


def _first(
    where: str, head: FittedHead | AutoHead, name: str, view: FurtherView, encoder: EncoderSpec | None
) -> Iterator[str]:
    called, single = many(view.modality), one(view.modality)
    if getattr(view, "rows", "clip") != "clip":
        yield (
            f"`{where}` joins {called}, and view {name!r} has `rows: {getattr(view, 'rows', '')}`: set `rows: clip`, "
            f"one row for each {single}."
        )
    if head.crops:
        yield f"`{where}.crops` is for pictures; of {called} in view {name!r} nothing is cropped: leave it out."
    if head.local_tokens == "patch":
        yield f"`{where}.local_tokens` is patch; {called} in view {name!r} have frames in any number: set it to grid."
    if head.local_tokens == "grid" and view.tier != "grid":
        yield (
            f"`{where}.local_tokens` is grid, so its view {name!r} needs `tier: grid`, found {view.tier}; "
            "`local_tokens: mean` goes with every tier."
        )
    if encoder is None:
        return
    framed = encoder.loader not in WITHOUT_WEIGHTS and encoder.pooling != "model"
    if head.local_tokens == "mean" and not framed:
        yield (
            f"`{where}.local_tokens` is mean, but {view.encoder!r} gives one vector per {single}: set `local_tokens: "
            "none`, with `image_input: cls` of a head that has it."
        )
    if head.layers > len(encoder.layers):
        yield (
            f"`{where}.layers` is {head.layers}, but `encoders.{view.encoder}.layers` keeps {len(encoder.layers)}: "
            "keep more there, or lower it here."
        )
