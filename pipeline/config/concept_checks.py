"""What `concept_curations` names and other sections define, and the order in which things are made."""

from collections.abc import Iterator

from pipeline.config.aligners import NO_DATA
from pipeline.config.concept_curations import NO_ALIGNER, ConceptCuration
from pipeline.config.lookup import Lookup
from pipeline.config.params import Params
from pipeline.config.stores import CLASSNAMES

SECTION = "concept_curations"


def concept_problems(params: Params, lookup: Lookup) -> Iterator[str]:
    """A line for each name that is not defined, each store that is missing and each circle."""
    for name, curation in params.concept_curations.items():
        where = f"{SECTION}.{name}"
        if name == NO_DATA:
            yield f"`{where}` cannot be: `data: {NO_DATA}` says that an aligner is fitted to nothing."
        yield from lookup.not_a_view(f"{where}.view", curation.view, "image")
        if curation.captions is not None:
            yield from lookup.not_a_view(f"{where}.captions", curation.captions, "text")
        yield from _stores(where, curation, params, lookup)
        yield from _space(where, name, curation, params)


def _stores(where: str, curation: ConceptCuration, params: Params, lookup: Lookup) -> Iterator[str]:
    labelled = [entry.labels.dataset for entry in curation.concepts if entry.labels is not None]
    for dataset in labelled:
        if dataset in params.datasets and dataset not in curation.pool:
            yield f"`{where}.concepts` takes labels of {dataset!r}, which is not in its pool: no picture has one."
    views = (curation.view, *((curation.captions,) if curation.captions else ()))
    for dataset in dict.fromkeys((*curation.pool, *curation.hygiene.decontaminate, *labelled)):
        if problem := lookup.missing(where, dataset, "datasets"):
            yield problem
            continue
        for view in views if dataset in curation.pool else views[:1]:
            if view in params.views and (problem := lookup.unstored(where, "pairs", dataset, view)):
                yield problem
    by_texts = curation.balance == "concepts" and curation.prototypes != "images"
    if by_texts and (problem := lookup.unstored(where, "prompts", CLASSNAMES, str(curation.captions))):
        yield problem


def _space(where: str, name: str, curation: ConceptCuration, params: Params) -> Iterator[str]:
    if curation.aligner == NO_ALIGNER:
        views = [params.stored_views.get(view) for view in (curation.view, str(curation.captions))]
        models = [None if view is None else params.encoders.get(view.encoder) for view in views]
        if curation.needs_shared_space and all(models) and models[0].model != models[1].model:  # type: ignore[union-attr]
            yield (
                f"`{where}` compares across spaces ({curation.needs_shared_space}), and its views are of two models: "
                "set `aligner` to one of your own, or name two views of a dual encoder."
            )
        return
    aligner = params.named_aligners.get(curation.aligner)
    if aligner is None:
        known = ", ".join(params.named_aligners) or "there are none"
        yield f"`{where}.aligner` names {curation.aligner!r}, which is not under `aligners` ({known}); or write none."
        return
    if aligner.data == name:
        yield f"`{where}.aligner` is {curation.aligner!r}, which is fitted to this very curation: name another one."
    if aligner.views != (curation.view, curation.captions or aligner.views[1]):
        yield (
            f"`{where}.aligner` is {curation.aligner!r} of views {' and '.join(aligner.views)}; the curation's `view` "
            "and `captions` should be these."
        )
