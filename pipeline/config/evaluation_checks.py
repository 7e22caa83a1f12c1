"""What no schema can say of `evaluate`: what its tasks read is there, and nothing trains on what is held out."""

from collections.abc import Iterator

from pipeline.config.controls import control_problems
from pipeline.config.ensembles import ensemble_problems, row_missing
from pipeline.config.lookup import Lookup, present
from pipeline.config.params import Params


def evaluation_problems(params: Params, lookup: Lookup) -> Iterator[str]:
    """One sentence for each contradiction between `evaluate`, `datasets` and what they name."""
    yield from _transfer(params)
    yield from _evaluation(params, lookup)


def _transfer(params: Params) -> Iterator[str]:
    """What is for evaluation alone is trained on nowhere."""
    kept = {name for name, dataset in params.datasets.items() if getattr(dataset, "transfer", False)}
    used = {f"curations.{name}.pool": curation.pool for name, curation in params.all_curations.items()}
    used |= {f"compare.{name}.datasets": compare.datasets for name, compare in params.compare.items()}
    for where, datasets in used.items():
        for dataset in sorted(kept.intersection(datasets)):
            yield f"`{where}` names {dataset!r}, which is for evaluation alone (`datasets.{dataset}.transfer: true`)."


def _evaluation(params: Params, lookup: Lookup) -> Iterator[str]:
    """Every store that a task reads is named, so that no evaluation stops for want of it."""
    evaluate = params.evaluate
    yield from ensemble_problems(params, lookup)
    if evaluate.showcase is not None:
        yield from present(lookup.missing("evaluate.showcase", evaluate.showcase, "aligners"))
    for pair in evaluate.versus.items():
        for name in pair:
            yield from present(row_missing("evaluate.versus", name, params, lookup))
    yield from control_problems(params, lookup)
    for name, other in evaluate.versus.items():
        if name == other:
            yield f"`evaluate.versus.{name}` is {other!r} itself: name the aligner that it is compared with."
    for entry in params.prompts.translations:
        yield from present(lookup.missing("prompts.translations", entry.dataset, "datasets"))
    if evaluate.named and not params.aligners:
        yield "`evaluate.tasks` has nothing to evaluate: name an aligner under `aligners`."
    for name, task in evaluate.named.items():
        yield from task.problems(f"evaluate.tasks.{name}", params, lookup)
