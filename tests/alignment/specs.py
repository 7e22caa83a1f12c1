"""Heads, and what fitting them reads, as short as tests want to write them."""

import json
from collections.abc import Mapping
from typing import Any, cast

from pydantic import TypeAdapter

from pipeline.config import (
    NO_DATA,
    AlignerSpec,
    AllImages,
    ClosedFormHead,
    Config,
    EvaluatedAligner,
    FitSpec,
    FittedHead,
    FolderSource,
    HeadSpec,
    IdentityHead,
    LossSpec,
    Params,
    SplitsParams,
    StoreEntry,
    Stores,
    TrainedHead,
    TrainParams,
    TrainSettings,
)

DATASETS = ("emoji", "stamps")
_HEAD: TypeAdapter[Any] = TypeAdapter(HeadSpec)
_LOSS: TypeAdapter[Any] = TypeAdapter(LossSpec)


def head_of(kind: str = "freeze-align", **keys: Any) -> Any:
    """The head of an entry under `aligners`, its kinds of losses and forms left out where they are the usual ones."""
    if "forms" in keys:
        keys["forms"] = {name: {"kind": name} | form for name, form in keys["forms"].items()}
    if "loss" in keys:
        keys["loss"] = {"kind": "info-nce"} | keys["loss"]
    return _HEAD.validate_json(json.dumps({"kind": kind, **keys}))


def trained(kind: str = "freeze-align", **keys: Any) -> TrainedHead:
    """`head_of` a head that is trained."""
    return cast(TrainedHead, head_of(kind, **keys))


def computed(forms: Mapping[str, Mapping[str, Any]], **keys: Any) -> ClosedFormHead:
    """`head_of` a head in closed form."""
    return cast(ClosedFormHead, head_of("closed-form", forms=dict(forms), **keys))


def loss_of(**keys: Any) -> Any:
    """The loss of such an entry."""
    return _LOSS.validate_json(json.dumps({"kind": "info-nce", **keys}))


def fit_of(head: FittedHead | IdentityHead | None = None, image: str = "vit", text: str = "minilm") -> FitSpec:
    """Fitting that head, or a default one, between two views of the world of `toy.py`."""
    data = NO_DATA if isinstance(head, IdentityHead) else "all"
    return FitSpec(image=image, text=text, datasets=DATASETS, data=data, head=head or head_of())


def settings_of(
    fit: FitSpec, params: TrainParams, name: str = "default", repeats: int = 2, seed: int = 0
) -> TrainSettings:
    """What the stage train is given where `params` is the section `train`."""
    stored = {
        f"{dataset}-{view}": StoreEntry(dataset=dataset, view=view, encoder=view)
        for dataset in fit.datasets
        for view in (fit.image, fit.text)
    }
    every = Params(
        seed=seed,
        splits=SplitsParams(repeats=repeats),
        train=params,
        datasets={dataset: FolderSource(source="folder", path=dataset) for dataset in fit.datasets},
        stores=Stores(pairs=stored),
        curations={} if fit.data == NO_DATA else {fit.data: AllImages(pool=fit.datasets, view=fit.image)},
        aligners={name: AlignerSpec(views=(fit.image, fit.text), data=fit.data, head=fit.head)},
    )
    settings = cast(TrainSettings, Config(every).settings("train", name))
    assert settings.fit == fit
    return settings


def evaluated(fits: Mapping[str, FitSpec]) -> dict[str, EvaluatedAligner]:
    """Aligners as evaluation sees them."""
    return {name: EvaluatedAligner(fit=fit) for name, fit in fits.items()}
