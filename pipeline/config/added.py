"""`added`: a further modality in the space of an aligner that stands; nothing of that aligner moves.

These entries have a section of their own, since each depends on the fitted aligner that it names.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

from pipeline.config.aligners import AlignerSpec
from pipeline.config.base import Name, Once, Section
from pipeline.config.closed_forms import KernelRidge, Ridge
from pipeline.config.heads import ClosedFormHead, HeadSpec, IdentityHead, LinearHead, NetworkHead
from pipeline.config.modalities import DEFAULT, many

if TYPE_CHECKING:
    from pipeline.config.lookup import Lookup
    from pipeline.config.params import Params

SECTION: Final = "added"


class AddedAligner(AlignerSpec):
    """An entry of `added` as an aligner: its first view is the new one, its second stands still in `space`."""

    space: Name


class AddedSpec(Section):
    """A view of a further modality, and the head from it into the space of the aligner `to`.

    The head is fitted to pairs of the new view with texts as `by`, the text view of `to`, on the samples of curation
    `data`, of `kinds` alone where these are named. Vectors of pictures and of texts stay those of `to`, bit by bit, so
    what was made of them stays valid.
    """

    to: Name
    view: Name
    by: Name
    data: Name
    head: HeadSpec
    kinds: Annotated[tuple[str, ...], Once] = ()

    def aligner(self) -> AddedAligner:
        """The same as an aligner."""
        return AddedAligner(views=(self.view, self.by), data=self.data, head=self.head, kinds=self.kinds, space=self.to)


def added_among_aligners(params: "Params") -> "Params":
    """The same parameters with the entries of `added` among the aligners, for checks that are the same for both."""
    added = {name: spec.aligner() for name, spec in params.added.items()}
    return params.model_copy(update={"aligners": params.aligners | added, "added": {}})


def under_added(problem: str, params: "Params") -> str:
    """The same problem with the entries of `added` where they stand, and their keys by the names they have there."""
    for name in params.added:
        for end in ("`", "."):
            problem = problem.replace(f"`aligners.{name}{end}", f"`{SECTION}.{name}{end}")
        for key, place in (("view", "views.0"), ("by", "views.1")):
            problem = problem.replace(f"`{SECTION}.{name}.{place}`", f"`{SECTION}.{name}.{key}`")
    return problem


def added_problems(params: "Params", lookup: "Lookup") -> Iterator[str]:
    """Entries that name no aligner of pictures and texts, another text view than its own, or a head that moves it."""
    for name, spec in params.added.items():
        where = f"{SECTION}.{name}"
        standing = (params.aligners | params.fused).get(spec.to)
        if standing is None:
            known = "`aligners` or `fused`" if params.fused else "`aligners`"
            yield lookup.missing(f"{where}.to", spec.to, "aligners") or f"`{where}.to` is not under {known}."
            continue
        modalities = tuple(params.modality(view) for view in standing.views)
        if None not in modalities and modalities != DEFAULT:
            joined = " and ".join(many(str(one)) for one in modalities)
            yield f"`{where}.to` is {spec.to!r}, which joins {joined}; name an aligner of images and texts."
        elif spec.by != standing.views[1]:
            yield f"`{where}.by` is {spec.by!r}; the text view of {spec.to!r} is {standing.views[1]!r}: write that."
        if (modality := params.modality(spec.view)) in DEFAULT:
            yield f"`{where}.view` is {spec.view!r}, a view of {many(str(modality))}, which are in that space already."
        yield from _head_problems(f"{where}.head", spec.head, standing.head)


def _head_problems(where: str, head: Any, standing: Any) -> Iterator[str]:
    tokens = "pooled" if isinstance(standing, IdentityHead) else standing.text_tokens
    if not isinstance(head, ClosedFormHead | LinearHead | NetworkHead):
        yield f"`{where}` is {head.kind}; a map into a space that stands is closed-form, linear or another network."
        return
    if head.text_tokens != tokens:
        yield f"`{where}.text_tokens` is {head.text_tokens}, that of the aligner is {tokens}: write that."
    if head.whitening is not None and head.whitening.of("text"):
        yield f"`{where}.whitening` would move texts: set `sides: image`, which is the new side, or leave it out."
    if isinstance(head, ClosedFormHead):
        for name, form in head.forms.items():
            if not isinstance(form, Ridge | KernelRidge) or form.direction != "image-to-text":
                yield f"`{where}.forms.{name}` would move texts: take ridge or kernel-ridge with its own direction."
        if len(head.forms) > 1:
            yield f"`{where}.forms` has {len(head.forms)} forms, whose vectors are no map into one space: keep one."
        return
    if head.embed_dim is not None:
        yield f"`{where}.embed_dim` is that of the space: leave it out."
    if isinstance(head, LinearHead) and head.init != "random":
        yield f"`{where}.init` would have no effect: leave it out, or take head closed-form."
