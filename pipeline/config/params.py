"""All of params.yaml as one frozen model: what a stage may read is here, and nowhere as a raw mapping."""

from collections.abc import Collection
from itertools import combinations

from pydantic import model_validator

from pipeline.config.added import AddedSpec
from pipeline.config.aligners import AlignerSpec, AnyDenseHead, AutoSpec
from pipeline.config.base import Name, Section, Seed
from pipeline.config.concept_curations import ConceptCuration
from pipeline.config.datasets import DatasetSpec
from pipeline.config.encoders import EncoderSpec, Modality
from pipeline.config.ensembles import EnsembleSpec
from pipeline.config.evaluation import EvaluateParams
from pipeline.config.prompts import PromptsParams
from pipeline.config.selection import AnyCuration, CurationSpec, ScenesSpec, SplitsParams
from pipeline.config.stores import EncodeParams, Stores
from pipeline.config.studies import CompareSpec, PredictorsSpec, ToySpec
from pipeline.config.training import TrainParams
from pipeline.config.views import AnyView, FusedView, StoredOrFused


class Params(Section):
    """All of params.yaml, less the `hydra` block. A section that is left out is empty, or has its defaults."""

    seed: Seed = 0
    encoders: dict[Name, EncoderSpec] = {}
    views: dict[Name, StoredOrFused] = {}
    datasets: dict[Name, DatasetSpec] = {}
    stores: Stores = Stores()
    scenes: dict[Name, ScenesSpec] = {}
    curations: dict[Name, CurationSpec] = {}
    concept_curations: dict[Name, ConceptCuration] = {}
    aligners: dict[Name, AlignerSpec] = {}
    fused: dict[Name, AlignerSpec] = {}
    auto: dict[Name, AutoSpec] = {}
    added: dict[Name, AddedSpec] = {}
    ensembles: dict[Name, EnsembleSpec] = {}
    dense_heads: dict[Name, AnyDenseHead] = {}
    splits: SplitsParams = SplitsParams()
    prompts: PromptsParams = PromptsParams()
    encode: EncodeParams = EncodeParams()
    compare: dict[Name, CompareSpec] = {}
    toy: dict[Name, ToySpec] = {}
    predictors: dict[Name, PredictorsSpec] = {}
    train: TrainParams = TrainParams()
    evaluate: EvaluateParams = EvaluateParams()

    @model_validator(mode="after")
    def _apart(self) -> "Params":
        """One place on disk for each store, and one DVC stage for each name."""
        targets: dict[tuple[str, str, str], str] = {}
        groups = (("pairs", self.stores.pairs), ("scenes", self.stores.scenes), ("prompts", self.stores.prompts))
        for group, stores in groups:
            for name, store in stores.items():
                target = (group, store.view, store.dataset)
                if target in targets:
                    raise ValueError(
                        f"stores {targets[target]!r} and {name!r} of `stores.{group}` are both data set "
                        f"{store.dataset!r} through view {store.view!r}; leave one out"
                    )
                targets[target] = name
        twice = [name for name in self.stores.pairs if name in self.stores.scenes or name in self.stores.prompts]
        twice += [name for name in self.stores.scenes if name in self.stores.prompts]
        if twice:
            raise ValueError(f"store {twice[0]!r} stands in two groups of `stores`; give one of them another name")
        sections: dict[str, Collection[str]] = {
            key: getattr(self, key) for key in ("aligners", "fused", "auto", "added", "ensembles")
        }
        for one, other in combinations(sections, 2):
            if both := [name for name in sections[other] if name in sections[one]]:
                raise ValueError(f"{both[0]!r} stands under `{one}` and under `{other}`; give one of them another name")
        if again := [name for name in self.concept_curations if name in self.curations]:
            raise ValueError(
                f"{again[0]!r} stands under `curations` and under `concept_curations`; give one of them another name"
            )
        return self

    @property
    def stored_views(self) -> dict[str, AnyView]:
        """The views through which encoders are seen, without those that join others."""
        return {name: view for name, view in self.views.items() if not isinstance(view, FusedView)}

    def members(self, view: str) -> tuple[str, ...]:
        """The views that a view joins; itself where it is none of several."""
        spec = self.views.get(view)
        return spec.concat if isinstance(spec, FusedView) else (view,)

    @property
    def all_curations(self) -> dict[str, AnyCuration | ConceptCuration]:
        """What aligners name as their `data`."""
        return {**self.curations, **self.concept_curations}

    @property
    def named_aligners(self) -> dict[str, AlignerSpec]:
        """Those whose views are named: of `aligners`, of `fused`, and of `added`."""
        return self.aligners | self.fused | {name: spec.aligner() for name, spec in self.added.items()}

    def modality(self, view: str) -> Modality | None:
        """What a view is of; None where there is no such view."""
        spec = self.stored_views.get(self.members(view)[0])
        return None if spec is None else spec.modality

    def joining(self, *modalities: str) -> dict[str, AlignerSpec]:
        """The entries of `aligners` whose views are of these modalities, and those with a view that is not there."""

        def joins(aligner: AlignerSpec) -> bool:
            sides = zip(aligner.views, modalities, strict=True)
            return all(self.modality(view) in (None, modality) for view, modality in sides)

        return {name: aligner for name, aligner in self.aligners.items() if joins(aligner)}

    @property
    def all_aligners(self) -> dict[str, AlignerSpec]:
        """Those whose views are named, and those of `auto`, whose views are still open."""
        return self.named_aligners | {name: spec.aligner() for name, spec in self.auto.items()}

    @property
    def rows(self) -> tuple[str, ...]:
        """What has a row in results and may have a control: aligners whose views are named, and ensembles."""
        return (*self.named_aligners, *self.ensembles)
