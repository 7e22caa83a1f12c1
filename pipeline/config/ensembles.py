"""`ensembles`: several aligners whose scores are averaged. Nothing is fitted of one, so it has no stage of its own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pipeline.config.aligners import METHODS, with_method
from pipeline.config.base import Name, Once, Section
from pipeline.config.lookup import Lookup
from pipeline.config.suggestion import suggestion

if TYPE_CHECKING:
    from pipeline.config.params import Params

SECTION = "ensembles"
Scores = Literal["cosine", "logit"]


class EnsembleSpec(Section):
    """Aligners whose scores are averaged: `of` names them.

    `scores: cosine` averages their cosines; `logit` their cosines times the scale that each has for its softmax, so
    that one whose cosines spread less counts as much. The members are fitted to one curation.
    """

    of: Annotated[tuple[Name, ...], Field(min_length=2), Once]
    scores: Scores = "cosine"


def ensemble_problems(params: "Params", lookup: Lookup) -> Iterator[str]:
    """Members that are not there, or were fitted to other data; names that results have for something else."""
    for name, ensemble in params.ensembles.items():
        where = f"{SECTION}.{name}.of"
        for member in ensemble.of:
            if (inner := params.ensembles.get(member)) is not None:
                yield f"`{where}` names {member!r}, an ensemble itself: name {', '.join(inner.of)}."
            elif problem := lookup.missing(where, member, "aligners"):
                yield problem
        further = params.aligners.keys() - params.joining("image", "text").keys()
        elsewhere = [member for member in ensemble.of if member in further]
        if elsewhere:
            yield f"`{where}` names {elsewhere[0]!r}; ensembles are of aligners of images and texts: leave it out."
        data = {member: params.aligners[member].data for member in ensemble.of if member in params.aligners}
        if len(set(data.values())) > 1:
            listed = ", ".join(f"{member} (data: {of})" for member, of in data.items())
            yield (
                f"`{where}` joins {listed}: the members of an ensemble are fitted to one curation, so that all of them "
                "hold out the same families. Name aligners of one `data`."
            )
        for aligner in params.aligners:
            if name in [with_method(aligner, method) for method in METHODS]:
                yield f"`{SECTION}.{name}` cannot be: results call a method of {aligner!r} so."


def row_missing(where: str, name: str, params: "Params", lookup: Lookup) -> str | None:
    """What to say if `name` is neither an aligner nor an ensemble, so that no table has a row of it."""
    if name in params.ensembles or name in params.aligners:
        return None
    if not params.ensembles:
        return lookup.missing(where, name, "aligners")
    known = [*params.aligners, *params.ensembles]
    return f"`{where}` names {name!r}, which is not under `aligners` or `{SECTION}`.{suggestion(name, known)}"
