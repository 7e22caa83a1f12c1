"""What each stage reads of params.yaml, one model per stage."""

from typing import Any

from pydantic import SerializeAsAny, SerializerFunctionWrapHandler, model_serializer

from pipeline.config.aligners import AnyDenseHead, EvaluatedAligner, FitSpec
from pipeline.config.base import DeepPictures, Repeats, Section, Seed
from pipeline.config.concept_curations import ConceptCuration
from pipeline.config.datasets import DatasetSpec
from pipeline.config.encoders import EncoderSpec, Modality
from pipeline.config.ensembles import EnsembleSpec
from pipeline.config.evaluation import EvaluateParams
from pipeline.config.prompts import PromptedClasses
from pipeline.config.selection import CurationSpec, ScenesSpec, SplitsParams
from pipeline.config.stores import EncodeParams, StoreSpec
from pipeline.config.studies import CompareSpec, PredictorsSpec, ToySpec
from pipeline.config.task_params import TaskParams
from pipeline.config.training import LoadingParams, TrainParams
from pipeline.config.views import ViewSpec


class Settings(Section):
    """What a stage reads; `name` is its item, or ""."""

    name: str = ""


class CheckpointSettings(Settings):
    """Of checkpoint@<encoder>."""

    encoder: EncoderSpec


class ListingSettings(Settings):
    """Of listing: the data sets, and what params.yaml names in each folder below data."""

    datasets: dict[str, DatasetSpec]
    named: dict[str, tuple[str, ...]]


class IndexSettings(Settings, DeepPictures):
    """Of index@<data set>; `bits` is the most that an image view of it states."""

    dataset: DatasetSpec


class ScenesSettings(Settings):
    """Of scenes@<scenes>."""

    scenes: ScenesSpec


class SplitsSettings(Settings):
    """Of splits; `datasets` are those with samples to split, in the order of params.yaml."""

    splits: SplitsParams
    datasets: tuple[str, ...]
    seed: Seed


class PromptsSettings(Settings):
    """Of prompts."""

    prompts: PromptedClasses


class EncodeSettings(Settings):
    """Of encode@<store>, encode_scenes@<store> and encode_prompts@<store>."""

    store: StoreSpec
    view: ViewSpec
    encoder: EncoderSpec
    encode: EncodeParams


class CompareSettings(Settings):
    """Of compare@<comparison>."""

    compare: CompareSpec
    repeats: Repeats
    seed: Seed


class ToySettings(Settings):
    """Of toy@<study>."""

    toy: ToySpec
    compare: CompareSpec
    repeats: Repeats
    seed: Seed


class PredictorsSettings(Settings):
    """Of predictors@<study>; `compare` holds its views and data sets, `encoders` the encoder of each view."""

    predictors: PredictorsSpec
    compare: CompareSpec
    encoders: dict[str, str]
    repeats: Repeats
    seed: Seed


class CurateSettings(Settings):
    """Of curate@<curation> and curate_concepts@<curation>.

    `modality` is what it selects samples of, and is not written out of pictures.
    """

    curation: CurationSpec | ConceptCuration
    modality: Modality = "image"
    repeats: Repeats
    seed: Seed

    @model_serializer(mode="wrap")
    def _written(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        out: dict[str, Any] = write(self)
        if self.modality == "image":
            out.pop("modality", None)
        return out


class TrainSettings(Settings):
    """Of train@<aligner>: `train` for one that is or may be trained, `loading` for a computed one, none of identity."""

    fit: FitSpec
    train: TrainParams | None
    loading: LoadingParams | None
    repeats: Repeats
    seed: Seed


class DenseSettings(Settings):
    """Of dense@<dense head>."""

    dense_head: AnyDenseHead
    repeats: Repeats


class EvaluateSettings(Settings):
    """Of evaluate@<task>: the task, what all tasks have in common, every aligner and every ensemble of some.

    `caveats` says in what a control differs from its aligner beside the weights of its image encoder.
    """

    task: SerializeAsAny[TaskParams]
    evaluate: EvaluateParams
    aligners: dict[str, EvaluatedAligner]
    ensembles: dict[str, EnsembleSpec] = {}
    caveats: tuple[str, ...] = ()
    repeats: Repeats
    seed: Seed


class RunNames(Settings):
    """Of accounting and report: what params.yaml names, so that leftovers of earlier runs are no part of this one.

    `ensembles` has the members of each.
    """

    encoders: tuple[str, ...]
    datasets: tuple[str, ...]
    scenes: tuple[str, ...]
    stores: dict[str, StoreSpec]
    compare: tuple[str, ...]
    toy: tuple[str, ...]
    predictors: tuple[str, ...]
    curations: tuple[str, ...]
    aligners: tuple[str, ...]
    ensembles: dict[str, tuple[str, ...]] = {}
    dense_heads: tuple[str, ...]
    tasks: tuple[str, ...]


class ReportSettings(RunNames):
    """Of report: also the control of each aligner, whose examples are shown, and the models behind the views."""

    controls: dict[str, str]
    showcase: str | None
    views: dict[str, tuple[str, str]]
    models: dict[str, str]
