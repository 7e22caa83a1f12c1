"""Fused views, and the aligners under `fused` that take them: what can stand side by side, and what is said otherwise.

These aligners have a section of their own, since DVC finds what a stage reads by a pattern: of `aligners` the stores of
two views, of `fused` the stores of all views.
"""

from collections.abc import Iterator

from pipeline.config.aligners import AlignerSpec
from pipeline.config.heads import IdentityHead
from pipeline.config.lookup import Lookup
from pipeline.config.modalities import SIDES, many
from pipeline.config.params import Params
from pipeline.config.views import AnyView, FusedView, TextView

SECTION = "fused"


def fused_problems(params: Params, lookup: Lookup) -> Iterator[str]:
    """Fused views of what cannot stand side by side, and aligners that stand in the wrong section."""
    fused = {name: view for name, view in params.views.items() if isinstance(view, FusedView)}
    for name, view in fused.items():
        yield from _joined(f"views.{name}.concat", view, params, lookup)
    for name, store in params.stores.by_name().items():
        if store.view in fused:
            where = f"stores.{store.group}.{name}.view"
            yield f"`{where}` is {store.view!r}, a fused view, of which nothing is stored: leave the store out."
    for name, aligner in params.aligners.items():
        if taken := [view for view in aligner.views if view in fused]:
            yield (
                f"`aligners.{name}.views` has {taken[0]!r}, a fused view: aligners of fused views stand under "
                f"`{SECTION}`, with the same keys."
            )
    for name, aligner in params.fused.items():
        if not fused.keys() & set(aligner.views) and set(aligner.views) <= params.views.keys():
            yield f"`{SECTION}.{name}.views` has no fused view: write the entry under `aligners`."


def fused_among_aligners(params: Params) -> Params:
    """The same parameters with the entries of `fused` among the aligners, for checks that are the same for both."""
    return params.model_copy(update={"aligners": params.aligners | params.fused, "fused": {}})


def under_fused(problem: str, params: Params) -> str:
    """The same problem with the entries of `fused` where they stand."""
    for name in params.fused:
        for end in ("`", "."):
            problem = problem.replace(f"`aligners.{name}{end}", f"`{SECTION}.{name}{end}")
    return problem


def side_problems(where: str, aligner: AlignerSpec, place: int, params: Params, lookup: Lookup) -> Iterator[str]:
    """What is wrong with the view at `place` of an aligner: 0 that of images, 1 that of texts."""
    name, takes = aligner.views[place], SIDES[place]
    view = params.views.get(name)
    if not isinstance(view, FusedView):
        yield from lookup.not_a_view(f"{where}.views.{place}", name, *takes)
        return
    members = [params.stored_views[member] for member in view.concat if member in params.stored_views]
    if members and members[0].modality not in takes:
        yield f"`{where}.views.{place}` is {name!r}, a fused view of {many(members[0].modality)}."
    modality = members[0].modality if members else takes[0]
    yield from _head_problems(where, aligner, name, members, params)
    keys = ("dense", "dense_head", "caption_head") if modality == "image" else ("long_text",)
    for key in keys:
        if getattr(aligner.evaluation, key) is not None:
            yield (
                f"`{where}.evaluation.{key}` needs one encoder of {many(modality)}, and {name!r} joins several: leave "
                "it out."
            )


def _joined(where: str, view: FusedView, params: Params, lookup: Lookup) -> Iterator[str]:
    modalities = {}
    for member in view.concat:
        if problem := lookup.missing(where, member, "views"):
            yield problem
        elif isinstance(inner := params.views[member], FusedView):
            yield f"`{where}` names {member!r}, which is fused itself: name {', '.join(inner.concat)}."
        else:
            modalities[member] = inner.modality
    if len(set(modalities.values())) > 1:
        listed = ", ".join(f"{member} ({modality})" for member, modality in modalities.items())
        yield f"`{where}` joins views of one modality, found {listed}."


def _head_problems(
    where: str, aligner: AlignerSpec, name: str, members: list[AnyView], params: Params
) -> Iterator[str]:
    head = aligner.head
    if isinstance(head, IdentityHead):
        yield f"`{where}.head` is identity, which joins the two towers of one model; {name!r} is fused of several."
        return
    if name == aligner.views[1]:
        if head.text_tokens == "full":
            yield (
                f"`{where}.head.text_tokens` is full, but the encoders of fused view {name!r} cut texts into tokens of "
                "their own: set `text_tokens: pooled`."
            )
        return
    images = [member for member in members if not isinstance(member, TextView)]
    if head.layers > 1:
        yield f"`{where}.head.layers` is {head.layers}; of each view in {name!r} the last layer is taken: leave it out."
    if head.crops:
        yield f"`{where}.head.crops` has no effect with fused view {name!r}, whose views crop apart: leave it out."
    if head.local_tokens == "patch":
        yield f"`{where}.head.local_tokens` is patch; {name!r} joins encoders of several patch grids: set it to mean."
    if head.local_tokens == "grid" and {(view.tier, view.grid) for view in images} != {("grid", images[0].grid)}:
        kept = ", ".join(f"{view.tier} {view.grid}" if view.tier == "grid" else view.tier for view in images)
        yield (
            f"`{where}.head.local_tokens` is grid, so the views that {name!r} joins need `tier: grid` and one `grid`, "
            f"found {kept}; `local_tokens: mean` goes with every tier."
        )
    loaders = {params.encoders[view.encoder].loader for view in images if view.encoder in params.encoders}
    if head.local_tokens != "none" and "open_clip" in loaders:
        yield (
            f"`{where}.head.local_tokens` is {head.local_tokens}, but {name!r} joins a dual encoder, which gives one "
            "vector per image: set `local_tokens: none`, with `image_input: cls` of a head that has it."
        )
