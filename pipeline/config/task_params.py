"""What params.yaml says of a task of evaluation, and what several tasks have in common."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.config.base import Names, Once, Positive, Section
from pipeline.config.datasets import SegmentationSource, TextTasksSource
from pipeline.config.lookup import Lookup, present
from pipeline.config.selection import ClassificationSet

if TYPE_CHECKING:
    from pipeline.config.params import Params

Ranks = Annotated[tuple[Positive, ...], Field(min_length=1), Once]
RECALL_AT = (1, 5, 10)


class TaskParams(Section):
    """What params.yaml says of a task."""

    def prompted_classes(self) -> tuple[ClassificationSet, ...]:
        """The labels of samples that it needs prompts for."""
        return ()

    def prompted_maps(self) -> tuple[str, ...]:
        """The data sets with label maps that it needs prompts for."""
        return ()

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """A line for each name without a definition and each store that would be missing, with the lines to add."""
        raise NotImplementedError


class RetrievalParams(TaskParams):
    """Image-caption retrieval on each of `datasets`."""

    datasets: Names
    recall_at: Ranks = RECALL_AT

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """See `TaskParams`."""
        for dataset in self.datasets:
            yield from dataset_problems(f"{where}.datasets", dataset, params, lookup)
            for aligner in params.joining("image", "text").values():
                for view in aligner.views:
                    yield from present(lookup.unstored(f"{where}.datasets", "pairs", dataset, view))


def dataset_problems(where: str, dataset: str, params: "Params", lookup: Lookup) -> Iterator[str]:
    """A data set with samples of its own."""
    yield from present(lookup.missing(where, dataset, "datasets"))
    if isinstance(params.datasets.get(dataset), SegmentationSource):
        yield f"`{where}` names {dataset!r}, whose label maps are for `evaluate.tasks.segmentation_benchmarks`."
    if isinstance(params.datasets.get(dataset), TextTasksSource):
        yield f"`{where}` names {dataset!r}, which has texts and no images."
