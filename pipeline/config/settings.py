"""What each stage reads of params.yaml: names resolved and defaults written out.

The stage `settings` writes them under data/settings, where DVC's dependencies find them: a stage runs again when what
it reads changes, and for no other edit. A stage receives its own settings and cannot reach the rest.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.config.added import AddedAligner
from pipeline.config.aligners import NO_DATA, AlignerSpec, ChosenAligner, EvaluatedAligner, FitSpec, Side
from pipeline.config.controls import control_caveats, controls_of
from pipeline.config.datasets import SegmentationSource, TextTasksSource
from pipeline.config.heads import OPTIMISED, IdentityHead
from pipeline.config.leftovers import named_outputs
from pipeline.config.params import Params
from pipeline.config.prompts import PromptedClasses
from pipeline.config.stage_settings import (
    CheckpointSettings,
    CompareSettings,
    CurateSettings,
    DenseSettings,
    EncodeSettings,
    EvaluateSettings,
    IndexSettings,
    ListingSettings,
    PredictorsSettings,
    PromptsSettings,
    ReportSettings,
    RunNames,
    ScenesSettings,
    Settings,
    SplitsSettings,
    ToySettings,
    TrainSettings,
)
from pipeline.config.stores import stored_through
from pipeline.config.suggestion import suggestion
from pipeline.config.tasks import task_takes
from pipeline.config.training import LoadingParams
from pipeline.config.views import FusedView, ImageView
from pipeline.errors import ConfigError


@dataclass(frozen=True)
class _Stage:
    """How the settings of a stage come about.

    Attributes:
        build: from all parameters and the item.
        catalogue: where the items are named, a dotted key; "" for a stage without items.
    """

    build: Callable[[Params, str], Settings]
    catalogue: str = ""

    def items(self, params: Params) -> tuple[str, ...]:
        return tuple(_catalogue(params, self.catalogue)) if self.catalogue else ("",)


def settings_of(params: Params, stage: str, item: str = "") -> Settings:
    """What a stage reads for one of its items.

    Raises:
        ConfigError: there is no such item, or none was named; the message lists what there is.
    """
    known = STAGES[stage]
    if known.catalogue and not item:
        raise ConfigError(f"Stage {stage} works on one entry of `{known.catalogue}`: add +item=NAME to the command.")
    if item not in known.items(params):
        hint = suggestion(item, list(known.items(params)))
        raise ConfigError(f"params.yaml: there is no `{item}` under `{known.catalogue}`.{hint}")
    return known.build(params, item)


def all_settings(params: Params) -> Iterator[tuple[str, Settings]]:
    """Stage and settings of everything that params.yaml asks for."""
    for stage, known in STAGES.items():
        for item in known.items(params):
            yield stage, known.build(params, item)


def fit_of(params: Params, aligner: AlignerSpec) -> FitSpec:
    """What fitting that aligner reads, its data sets named by its curation."""
    image, text = aligner.views
    members = [member for view in aligner.views for member in params.members(view)]
    datasets = (
        stored_through(params.stores, params.datasets, members)
        if aligner.data == NO_DATA
        else params.all_curations[aligner.data].pool
    )
    compare = aligner.compare if isinstance(aligner, ChosenAligner) else None
    sides: dict[Side, str] = {"image": image, "text": text}
    fusions = {side: view for side, name in sides.items() if isinstance(view := params.views.get(name), FusedView)}
    found = {side: params.modality(name) for side, name in sides.items()}
    modalities = {side: of for side, of in found.items() if of is not None and of != side}
    return FitSpec(
        image=image,
        text=text,
        datasets=datasets,
        data=aligner.data,
        head=aligner.head,
        compare=compare,
        fusions=fusions,
        modalities=modalities,
        kinds=aligner.kinds,
        space=aligner.space if isinstance(aligner, AddedAligner) else None,
    )


def evaluated(params: Params) -> dict[str, EvaluatedAligner]:
    """Every aligner as evaluation sees it."""
    return {
        name: EvaluatedAligner(fit=fit_of(params, aligner), evaluation=aligner.evaluation)
        for name, aligner in params.all_aligners.items()
    }


def prompted_classes(params: Params) -> PromptedClasses:
    """The template sets, and the classes of the tasks that need prompts, each once."""
    tasks = params.evaluate.named.values()
    return PromptedClasses(
        sets=params.prompts.sets,
        translations=params.prompts.translations,
        classes=tuple(dict.fromkeys(one for task in tasks for one in task.prompted_classes())),
        segmentation=tuple(dict.fromkeys(name for task in tasks for name in task.prompted_maps())),
    )


def split_datasets(params: Params) -> tuple[str, ...]:
    """The data sets whose samples are split: all but those with label maps, and those of texts alone."""
    apart = (SegmentationSource, TextTasksSource)
    return tuple(name for name, spec in params.datasets.items() if not isinstance(spec, apart))


def _catalogue(params: Params, key: str) -> dict[str, Any]:
    if key == "stores":
        return dict(params.stores.by_name())
    if key == "evaluate.tasks":
        return dict(params.evaluate.named)
    if key == "aligners":
        return dict(params.all_aligners)
    if key == "curations":
        return dict(params.all_curations)
    catalogue: dict[str, Any] = getattr(params, key)
    return catalogue


def _encode(params: Params, item: str) -> EncodeSettings:
    store = params.stores.by_name()[item]
    return EncodeSettings(
        name=item,
        store=store,
        view=params.stored_views[store.view],
        encoder=params.encoders[store.encoder],
        encode=params.encode,
    )


def _index(params: Params, item: str) -> IndexSettings:
    views = [params.views[store.view] for store in params.stores.pairs.values() if store.dataset == item]
    bits = max((view.bits for view in views if isinstance(view, ImageView) and view.bits), default=None)
    return IndexSettings(name=item, dataset=params.datasets[item], bits=bits)


def _predictors(params: Params, item: str) -> PredictorsSettings:
    study = params.predictors[item]
    compare = study.spaces(params.compare)
    encoders = {view: params.stored_views[view].encoder for view in (*compare.images, *compare.texts)}
    common = {"repeats": params.splits.repeats, "seed": params.seed}
    return PredictorsSettings(name=item, predictors=study, compare=compare, encoders=encoders, **common)


def _train(params: Params, item: str) -> TrainSettings:
    fit = fit_of(params, params.all_aligners[item])
    train = params.train.changed(fit.head.train) if isinstance(fit.head, OPTIMISED) else None
    loading = None
    if train is None and not isinstance(fit.head, IdentityHead):
        own = {key: getattr(params.train, key) for key in LoadingParams.model_fields}
        loading = LoadingParams(**own).changed(fit.head.train)
    return TrainSettings(
        name=item, fit=fit, train=train, loading=loading, repeats=params.splits.repeats, seed=params.seed
    )


def _evaluate(params: Params, item: str) -> EvaluateSettings:
    controls = controls_of(params.evaluate.control, params.rows)
    common = params.evaluate.model_copy(
        update={"tasks": type(params.evaluate.tasks)(), "showcase": _showcase(params), "control": controls}
    )
    return EvaluateSettings(
        name=item,
        task=params.evaluate.named[item],
        evaluate=common,
        aligners={name: one for name, one in evaluated(params).items() if task_takes(item, one.fit)},
        ensembles=params.ensembles,
        caveats=tuple(control_caveats(params)),
        repeats=params.splits.repeats,
        seed=params.seed,
    )


def _showcase(params: Params) -> str | None:
    return params.evaluate.showcase or next(iter(params.all_aligners), None)


def _names(params: Params) -> dict[str, Any]:
    catalogues = [name for name in RunNames.model_fields if name not in ("name", "stores", "ensembles", "tasks")]
    names: dict[str, Any] = {key: tuple(_catalogue(params, key)) for key in catalogues}
    ensembles = {name: ensemble.of for name, ensemble in params.ensembles.items()}
    return names | {"stores": params.stores.by_name(), "ensembles": ensembles, "tasks": tuple(params.evaluate.named)}


def _models(params: Params, view: str) -> str:
    """The models behind a view."""
    encoders = [params.stored_views[member].encoder for member in params.members(view)]
    return " + ".join(params.encoders[encoder].model for encoder in encoders)


def _report(params: Params, _: str) -> ReportSettings:
    return ReportSettings(
        **_names(params),
        controls=controls_of(params.evaluate.control, params.rows),
        showcase=_showcase(params),
        views={name: aligner.views for name, aligner in params.all_aligners.items()},
        models={name: _models(params, name) for name in params.views},
    )


STAGES: dict[str, _Stage] = {
    "checkpoint": _Stage(lambda p, i: CheckpointSettings(name=i, encoder=p.encoders[i]), "encoders"),
    "listing": _Stage(lambda p, _: ListingSettings(datasets=p.datasets, named=named_outputs(p))),
    "index": _Stage(_index, "datasets"),
    "scenes": _Stage(lambda p, i: ScenesSettings(name=i, scenes=p.scenes[i]), "scenes"),
    "splits": _Stage(lambda p, _: SplitsSettings(splits=p.splits, datasets=split_datasets(p), seed=p.seed)),
    "prompts": _Stage(lambda p, _: PromptsSettings(prompts=prompted_classes(p))),
    "encode": _Stage(_encode, "stores"),
    "compare": _Stage(
        lambda p, i: CompareSettings(name=i, compare=p.compare[i], repeats=p.splits.repeats, seed=p.seed), "compare"
    ),
    "toy": _Stage(
        lambda p, i: ToySettings(
            name=i, toy=p.toy[i], compare=p.toy[i].spaces(p.compare), repeats=p.splits.repeats, seed=p.seed
        ),
        "toy",
    ),
    "predictors": _Stage(_predictors, "predictors"),
    "curate": _Stage(
        lambda p, i: CurateSettings(
            name=i,
            curation=p.all_curations[i],
            modality=p.modality(p.all_curations[i].view) or "image",
            repeats=p.splits.repeats,
            seed=p.seed,
        ),
        "curations",
    ),
    "train": _Stage(_train, "aligners"),
    "dense": _Stage(
        lambda p, i: DenseSettings(name=i, dense_head=p.dense_heads[i], repeats=p.splits.repeats), "dense_heads"
    ),
    "evaluate": _Stage(_evaluate, "evaluate.tasks"),
    "accounting": _Stage(lambda p, _: RunNames(**_names(p))),
    "report": _Stage(_report),
}
