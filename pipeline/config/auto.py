"""What `auto` leaves open: the pairs of views that its comparisons may choose, and what is said where none can be."""

from collections.abc import Iterator

from pipeline.config.aligners import AUTO, AlignerSpec, AutoSpec
from pipeline.config.lookup import Lookup
from pipeline.config.params import Params
from pipeline.config.suggestion import suggestion


def candidates(params: Params, spec: AutoSpec) -> list[tuple[str, str]]:
    """The pairs of views that may be chosen: those compared, without the control."""
    study = params.compare[spec.compare]
    return spec.candidates(tuple(view for view in study.images if view != study.control), study.texts)


def auto_problems(params: Params, lookup: Lookup) -> Iterator[str]:
    """Entries of `auto` whose comparison is not there, or has nothing to choose from for them."""
    if params.auto and AUTO in params.views:
        yield f"`views.{AUTO}` cannot be: {AUTO} stands for a view that a comparison chooses. Give it another name."
    for name, aligner in params.aligners.items():
        if AUTO in aligner.views and AUTO not in params.views:
            yield (
                f"`aligners.{name}.views` has {AUTO!r}: an aligner whose views a comparison chooses stands under "
                f"`{AUTO}`, with `compare: NAME` in place of its views."
            )
    for name, spec in params.auto.items():
        where = f"{AUTO}.{name}"
        if problem := lookup.missing(f"{where}.compare", spec.compare, "compare"):
            yield problem
            continue
        study = params.compare[spec.compare]
        for side, view, compared in (("image", spec.image, study.images), ("text", spec.text, study.texts)):
            if view is not None and view not in compared:
                yield (
                    f"`{where}.{side}` is {view!r}, which `compare.{spec.compare}.{side}s` does not compare."
                    f"{suggestion(view, list(compared))}"
                )
            elif side == "image" and view == study.control:
                yield f"`{where}.image` is {view!r}, the control of `compare.{spec.compare}`, which is no candidate."
        if set(study.images) <= {study.control}:
            yield f"`{where}.compare` is {spec.compare!r}, which compares no image view but its control."


def with_every_choice(params: Params) -> Iterator[Params]:
    """The same parameters with a pair of views for each entry of `auto`, until each of its pairs was in one."""
    pairs = {name: candidates(params, spec) for name, spec in params.auto.items()}
    for number in range(max(map(len, pairs.values()), default=1)):
        chosen = {
            name: AlignerSpec(
                views=of_name[number % len(of_name)],
                data=params.auto[name].data,
                head=params.auto[name].head,
                evaluation=params.auto[name].evaluation,
            )
            for name, of_name in pairs.items()
        }
        yield params.model_copy(update={"aligners": params.aligners | chosen, "auto": {}})


def under_auto(problem: str, params: Params) -> str:
    """The same problem with the entries of `auto` where they stand; `with_every_choice` has them among the aligners."""
    for name in params.auto:
        problem = problem.replace(f"`aligners.{name}`", f"`{AUTO}.{name}`").replace(
            f"`aligners.{name}.", f"`{AUTO}.{name}."
        )
    return problem
