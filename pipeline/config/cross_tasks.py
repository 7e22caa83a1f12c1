"""Tasks between modalities of which one is neither picture nor text: retrieval, and classification from prompts."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, model_validator

from pipeline.config.added import AddedAligner
from pipeline.config.aligners import AlignerSpec
from pipeline.config.base import Name, Names, Once, Section
from pipeline.config.encoders import Modality
from pipeline.config.lookup import Lookup, present
from pipeline.config.modalities import DEFAULT, ORDER, many
from pipeline.config.selection import ClassificationSet
from pipeline.config.stores import CLASSNAMES
from pipeline.config.task_params import RECALL_AT, Ranks, TaskParams, dataset_problems

if TYPE_CHECKING:
    from pipeline.config.params import Params


class CrossSet(Section):
    """Two modalities of a data set, each the queries and the candidates of the other."""

    dataset: Name
    between: tuple[Modality, Modality]

    @model_validator(mode="after")
    def _of_two(self) -> "CrossSet":
        one, other = self.between
        if self.between == DEFAULT:
            raise ValueError("between pictures and texts is task retrieval")
        if ORDER.index(one) >= ORDER.index(other):
            raise ValueError(f"between names two modalities in the order {', '.join(ORDER)}")
        return self


class CrossRetrievalParams(TaskParams):
    """Retrieval in each of `sets`, by every aligner whose space has both of its modalities."""

    sets: Annotated[tuple[CrossSet, ...], Field(min_length=1), Once]
    recall_at: Ranks = RECALL_AT

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """See `TaskParams`."""
        for one in self.sets:
            yield from dataset_problems(f"{where}.sets", one.dataset, params, lookup)
            seen = [views_of(aligner, params, one.between) for aligner in params.aligners.values()]
            takers = [views for views in seen if views]
            if not takers:
                joined = " and ".join(map(many, one.between))
                yield f"`{where}.sets` asks for {joined} of {one.dataset!r}, and the space of no aligner has both."
            for view in dict.fromkeys(view for views in takers for view in views):
                yield from present(lookup.unstored(f"{where}.sets", "pairs", one.dataset, view))


class CrossClassificationParams(TaskParams):
    """Zero-shot classification of samples of `modality` by each of `classes` through each of the `prompt_sets`."""

    modality: Modality = "audio"
    classes: Annotated[tuple[ClassificationSet, ...], Field(min_length=1), Once]
    prompt_sets: Names = ("single",)

    @model_validator(mode="after")
    def _of_another(self) -> "CrossClassificationParams":
        if self.modality in DEFAULT:
            raise ValueError(f"classification of {many(self.modality)} is no task across modalities")
        return self

    def prompted_classes(self) -> tuple[ClassificationSet, ...]:
        """See `TaskParams`."""
        return self.classes

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """See `TaskParams`."""
        for name in self.prompt_sets:
            yield from present(lookup.missing(f"{where}.prompt_sets", name, "prompts.sets"))
        takers = [
            views
            for aligner in params.aligners.values()
            if (views := views_of(aligner, params, (self.modality, "text")))
        ]
        for dataset in dict.fromkeys(entry.dataset for entry in self.classes):
            yield from dataset_problems(f"{where}.classes", dataset, params, lookup)
            for view in dict.fromkeys(first for first, _ in takers):
                yield from present(lookup.unstored(f"{where}.classes", "pairs", dataset, view))
        for view in dict.fromkeys(second for _, second in takers):
            yield from present(lookup.unstored(where, "prompts", CLASSNAMES, view))


def views_of(aligner: AlignerSpec, params: "Params", between: tuple[str, str]) -> tuple[str, ...]:
    """The views through which an aligner sees two modalities; empty where its space lacks one."""
    standing = params.aligners.get(aligner.space) if isinstance(aligner, AddedAligner) else None
    views = (*aligner.views, *(() if standing is None else standing.views[:1]))
    by_modality = {str(params.modality(view)): view for view in views}
    return tuple(by_modality[one] for one in between) if all(one in by_modality for one in between) else ()
