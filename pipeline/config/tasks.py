"""The tasks of evaluation. Each is declared here and nowhere else: what it is called, what params.yaml may say of it
and must hold for it, which function evaluates it, which section of the report shows it, which of its figures lead.

Functions are named as `module:function` and imported where they run, so that this module needs none of their rooms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline.config.aligners import FitSpec
from pipeline.config.base import Fraction, Languages, Name, Names, Once, Section
from pipeline.config.corrections import CorrectedRetrievalParams
from pipeline.config.cross_tasks import CrossClassificationParams, CrossRetrievalParams
from pipeline.config.datasets import SegmentationSource
from pipeline.config.lookup import Lookup, present
from pipeline.config.selection import ClassificationSet
from pipeline.config.stores import CLASSNAMES
from pipeline.config.task_params import RECALL_AT, Ranks, RetrievalParams, TaskParams, dataset_problems
from pipeline.config.views import ImageView

if TYPE_CHECKING:
    from pipeline.config.params import Params

ClassVectors = Literal["unit", "mean"]


class ClassificationParams(TaskParams):
    """Zero-shot classification by each of `classes` through each of the `prompt_sets`.

    `class_vectors` says whether the mean over the prompts of a class is brought back to unit length, as CLIP does, or
    left as it is, as in Freeze-Align's own code.
    """

    classes: Annotated[tuple[ClassificationSet, ...], Field(min_length=1), Once]
    prompt_sets: Names = ("single",)
    class_vectors: ClassVectors = "unit"

    def prompted_classes(self) -> tuple[ClassificationSet, ...]:
        """See `TaskParams`."""
        return self.classes

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """See `TaskParams`."""
        for name in self.prompt_sets:
            yield from present(lookup.missing(f"{where}.prompt_sets", name, "prompts.sets"))
        for dataset in dict.fromkeys(entry.dataset for entry in self.classes):
            yield from dataset_problems(f"{where}.classes", dataset, params, lookup)
            for aligner in params.joining("image", "text").values():
                yield from present(lookup.unstored(f"{where}.classes", "pairs", dataset, aligner.views[0]))
        for view in dict.fromkeys(aligner.views[1] for aligner in params.joining("image", "text").values()):
            yield from present(lookup.unstored(where, "prompts", CLASSNAMES, view))


class MultilingualParams(RetrievalParams):
    """Classification and retrieval in every language of the captions of `datasets`."""

    recall_at: Ranks = (1, 10)
    class_vectors: ClassVectors = "unit"


class SceneLabels(ClassificationSet):
    """Labels of the objects in composed scenes, in English and in other `languages` that prompts are there in."""

    languages: Languages = ()


class SegmentationParams(TaskParams):
    """Segmentation of the composed `scenes` by the labels of the pieces that they are made of."""

    scenes: Name
    classes: Annotated[tuple[SceneLabels, ...], Field(min_length=1), Once]
    prompt_set: Name = "single"

    def prompted_classes(self) -> tuple[ClassificationSet, ...]:
        """See `TaskParams`."""
        return tuple(ClassificationSet(dataset=entry.dataset, label=entry.label) for entry in self.classes)

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """See `TaskParams`."""
        yield from present(lookup.missing(f"{where}.prompt_set", self.prompt_set, "prompts.sets"))
        yield from _evaluated_scenes(f"{where}.scenes", self.scenes, params, lookup)
        for entry in self.classes:
            yield from present(lookup.missing(f"{where}.classes", entry.dataset, "datasets"))
            for language in entry.languages:
                translated = {(t.dataset, t.label, t.language) for t in params.prompts.translations}
                if (entry.dataset, entry.label, language) not in translated:
                    yield (
                        f"`{where}.classes` asks for {entry.label} classes of {entry.dataset!r} in {language!r}; give "
                        "them names under `prompts.translations`."
                    )
            if self.scenes in params.scenes and entry.dataset not in params.scenes[self.scenes].pieces:
                yield (
                    f"`{where}.classes` names {entry.dataset!r}, but `scenes.{self.scenes}.pieces` are of "
                    f"{', '.join(params.scenes[self.scenes].pieces)}."
                )
        aligners = params.joining("image", "text").values()
        dense = [aligner for aligner in aligners if aligner.evaluation.dense is not None]
        for aligner in dense:
            yield from present(
                lookup.unstored(where, "scenes", self.scenes, str(aligner.evaluation.dense)),
                lookup.unstored(where, "prompts", CLASSNAMES, aligner.views[1]),
            )
        languages = {language for entry in self.classes for language in entry.languages}
        for view in dict.fromkeys(aligner.views[1] for aligner in dense):
            yield from lookup.languages(where, view, languages)


class SegmentationBenchmark(Section):
    """One row of figures on a data set with label maps.

    `views` says through which view of its image encoder each aligner sees the data set. Protocol `standard` is mean IoU
    over all classes; with `background`, pixels whose best class has a lower probability are background, which is then
    a class, and without it background pixels do not count. `freeze-align` is that paper's own figure,
    which is not a mean IoU.
    """

    dataset: Name
    views: Annotated[dict[Name, Name], Field(min_length=1)]
    protocol: Literal["standard", "freeze-align"] = "standard"
    background: Fraction | None = None
    prompt_set: Name
    languages: Annotated[Languages, Field(min_length=1)] = ("en",)

    @model_validator(mode="after")
    def _of_one_protocol(self) -> "SegmentationBenchmark":
        if self.protocol == "freeze-align" and self.background is not None:
            raise ValueError("protocol freeze-align knows no background; leave out `background`")
        return self


class SegmentationBenchmarksParams(TaskParams):
    """Segmentation of data sets with label maps; `class_vectors` as in classification."""

    sets: Annotated[tuple[SegmentationBenchmark, ...], Field(min_length=1)]
    class_vectors: ClassVectors = "unit"

    def prompted_maps(self) -> tuple[str, ...]:
        """See `TaskParams`."""
        return tuple(one.dataset for one in self.sets)

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """See `TaskParams`."""
        for benchmark in self.sets:
            yield from _benchmark(f"{where}.sets", benchmark, params, lookup)


class LongTextParams(TaskParams):
    """Retrieval by long captions: of composed `scenes`, and of `datasets` with captions of role "long"."""

    scenes: Name | None = None
    datasets: Annotated[tuple[Name, ...], Once] = ()
    recall_at: Ranks = RECALL_AT

    @model_validator(mode="after")
    def _of_something(self) -> "LongTextParams":
        if self.scenes is None and not self.datasets:
            raise ValueError("name `scenes`, or `datasets` with long captions")
        return self

    def problems(self, where: str, params: "Params", lookup: Lookup) -> Iterator[str]:
        """See `TaskParams`."""
        if self.scenes is not None:
            yield from _evaluated_scenes(f"{where}.scenes", self.scenes, params, lookup)
        for dataset in self.datasets:
            yield from dataset_problems(f"{where}.datasets", dataset, params, lookup)
        for aligner in params.joining("image", "text").values():
            long_text = aligner.evaluation.long_text
            if long_text is None:
                continue
            image = aligner.views[0] if aligner.head.kind == "identity" else aligner.evaluation.dense
            if self.scenes is not None and image is not None:
                for view in (image, long_text):
                    yield from present(lookup.unstored(where, "scenes", self.scenes, view))
            for dataset in self.datasets:
                for view in (aligner.views[0], long_text):
                    yield from present(lookup.unstored(f"{where}.datasets", "pairs", dataset, view))


def _benchmark(where: str, benchmark: SegmentationBenchmark, params: "Params", lookup: Lookup) -> Iterator[str]:
    """A data set with label maps, and for each aligner a dense view of its own image encoder and prompts."""
    dataset = benchmark.dataset
    yield from present(
        lookup.missing(where, dataset, "datasets"),
        lookup.missing(where, benchmark.prompt_set, "prompts.sets"),
    )
    if dataset in params.datasets and not isinstance(params.datasets[dataset], SegmentationSource):
        yield f"`{where}` names {dataset!r}, which has no label maps."
    for name, view in benchmark.views.items():
        if problem := lookup.missing(where, name, "aligners") or lookup.missing(where, view, "views"):
            yield problem
            continue
        aligner, seen = params.aligners[name], params.stored_views.get(view)
        own = params.stored_views.get(aligner.views[0])
        if seen is None or len(params.members(aligner.views[0])) > 1:
            yield f"`{where}` names {view!r} for {name!r}: one of them is fused, and patches are of one encoder."
            continue
        if own is not None and own.encoder != seen.encoder:
            yield (
                f"`{where}` shows {dataset!r} to aligner {name!r} through {view!r}, a view of {seen.encoder!r}; its "
                f"own encoder is {own.encoder!r}."
            )
        if not isinstance(seen, ImageView) or seen.tier != "full":
            yield f"`{where}` needs views of `tier: full`; {view!r} is of tier {seen.tier}."
        if aligner.head.kind == "identity":
            yield f"`{where}` names {name!r}, whose head is identity: its patch tokens are in no shared space."
        yield from present(
            lookup.unstored(where, "pairs", dataset, view),
            lookup.unstored(where, "prompts", CLASSNAMES, aligner.views[1]),
        )
        yield from lookup.languages(where, aligner.views[1], {*benchmark.languages} - {"en"})


def _evaluated_scenes(where: str, scenes: str, params: "Params", lookup: Lookup) -> Iterator[str]:
    if problem := lookup.missing(where, scenes, "scenes"):
        yield problem
    elif params.scenes[scenes].use == "training":
        yield f"`{where}` is {scenes!r}, on which dense heads are trained; name scenes of `use: evaluation`."


@dataclass(frozen=True)
class Headline:
    """Which figures of a task the report leads with.

    Attributes:
        metrics: what the metric ends with; of several the first that a result has.
        beside: ends of further metrics of the same items, to be shown beside it.
        languages: of the texts; None where that does not matter.
        last_prompts: only those of the last prompt set.
        most_tokens: only those of the longest texts.
    """

    metrics: tuple[str, ...]
    beside: tuple[str, ...] = ()
    languages: tuple[str, ...] | None = None
    last_prompts: bool = False
    most_tokens: bool = False


@dataclass(frozen=True)
class Task:
    """A task of evaluation.

    Attributes:
        title, short: of its section in the report.
        params: the model of its entry under `evaluate.tasks`.
        evaluate: `module:function` of pipeline.evaluation.
        section: `module:function` of pipeline.reporting.
        of_ensembles: whether it takes ensembles; a task that sees patch tokens or cut texts is of single aligners.
        across: whether it is of aligners of a further modality; other tasks are of those of pictures and texts.
    """

    title: str
    short: str
    params: type[TaskParams]
    evaluate: str
    section: str
    headline: Headline
    of_ensembles: bool = False
    across: bool = False


TASKS: dict[str, Task] = {
    "retrieval": Task(
        "Retrieval", "Retrieval", RetrievalParams,
        "pipeline.evaluation.retrieval:evaluate_retrieval",
        "pipeline.reporting.sections.retrieval:retrieval",
        Headline(("recall@10", "recall@1"), ("median_rank", "recall@1")), of_ensembles=True,
    ),
    "corrected_retrieval": Task(
        "Retrieval with hubs corrected", "Hubs corrected", CorrectedRetrievalParams,
        "pipeline.evaluation.corrected_retrieval:evaluate_corrected_retrieval",
        "pipeline.reporting.sections.task:task_section",
        Headline(()), of_ensembles=True,
    ),
    "classification": Task(
        "Zero-shot classification", "Classification", ClassificationParams,
        "pipeline.evaluation.classification:evaluate_classification",
        "pipeline.reporting.sections.classification:classification",
        Headline(("mean_per_class_accuracy", "top1_accuracy"), ("top1_accuracy",), last_prompts=True),
        of_ensembles=True,
    ),
    "multilingual": Task(
        "Languages", "Languages", MultilingualParams,
        "pipeline.evaluation.multilingual:evaluate_multilingual",
        "pipeline.reporting.sections.languages:languages",
        Headline(("top1_accuracy",), ("top5_accuracy",), languages=("average",)), of_ensembles=True,
    ),
    "segmentation": Task(
        "Segmentation of composed scenes", "Segmentation", SegmentationParams,
        "pipeline.evaluation.segmentation:evaluate_segmentation",
        "pipeline.reporting.sections.segmentation:segmentation",
        Headline(("mIoU",), languages=("", "en")),
    ),
    "segmentation_benchmarks": Task(
        "Segmentation of pictures with label maps", "Label maps", SegmentationBenchmarksParams,
        "pipeline.evaluation.segmentation_benchmarks:evaluate_segmentation_benchmarks",
        "pipeline.reporting.sections.segmentation:benchmarks",
        Headline(("mIoU",), languages=("", "en")),
    ),
    "long_text": Task(
        "Text length", "Text length", LongTextParams,
        "pipeline.evaluation.long_text:evaluate_long_text",
        "pipeline.reporting.sections.text_length:text_length",
        Headline(("t2i_recall@10", "t2i_recall@1"), ("t2i_recall@1",), most_tokens=True),
    ),
    "cross_retrieval": Task(
        "Retrieval across further modalities", "Sounds", CrossRetrievalParams,
        "pipeline.evaluation.cross_retrieval:evaluate_cross_retrieval",
        "pipeline.reporting.sections.cross:cross_retrieval",
        Headline(("recall@10",), ("recall@1",), languages=("", "en")), across=True,
    ),
    "cross_classification": Task(
        "Zero-shot classification of sounds", "Classes of sounds", CrossClassificationParams,
        "pipeline.evaluation.cross_classification:evaluate_cross_classification",
        "pipeline.reporting.sections.cross:cross_classification",
        Headline(("mean_per_class_accuracy",), ("top1_accuracy",), languages=("", "en"), last_prompts=True),
        across=True,
    ),
}  # fmt: skip


def task_takes(name: str, fit: FitSpec) -> bool:
    """Whether a task is of aligners that are fitted so."""
    return TASKS[name].across == bool(fit.modalities or fit.space)


def imported(function: str) -> Any:
    """The function that `module:function` names."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
