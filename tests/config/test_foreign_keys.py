"""A key that has no effect where it stands is refused, for every pair of kind and foreign key that the schema has."""

import copy
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pipeline.config import AnyCuration, AnyForm, AnyHead, AnyLoss, AnyView, DatasetSpec
from tests.config.refusals import refusal

UNIONS: dict[str, tuple[Any, str]] = {
    "head": (AnyHead, "kind"),
    "form": (AnyForm, "kind"),
    "loss": (AnyLoss, "kind"),
    "view": (AnyView, "modality"),
    "curation": (AnyCuration, "method"),
    "dataset": (get_args(DatasetSpec)[0], "source"),
}
NEEDED: dict[str, dict[str, Any]] = {  # keys that a kind cannot do without
    "closed-form": {"forms": {"cca": {}}},
    "image": {"encoder": "vit-s14", "resolution": 112},
    "text": {"encoder": "minilm"},
    "all": {"pool": ["stamps"], "view": "vit"},
    "random": {"pool": ["stamps"], "view": "vit", "images": 10},
    "prototypes": {
        **{"pool": ["stamps"], "view": "vit", "images": 10},
        "concepts": [{"dataset": "stamps", "label": "category"}],
    },
    "emoji": {"styles": ["noto"], "languages": ["en"]},
    "stamps": {"languages": ["en"]},
    "coco": {"annotations": "a.json", "images": "images"},
    "flickr30k": {"annotations": "a.json", "images": "images"},
    "xtd10": {"path": "x", "images": "images"},
}
PATH = {"source": {"path": "somewhere"}}


@pytest.fixture
def small() -> dict[str, Any]:
    """Two views of a data set, to be filled in."""
    encoder = {"source": "hub", "loader": "transformers"}
    return {
        "encoders": {
            "vit-s14": {"modality": "image", "model": "vit", **encoder},
            "minilm": {"modality": "text", "model": "words", **encoder},
        },
        "views": {"vit": {"encoder": "vit-s14", "resolution": 112}, "minilm": {"encoder": "minilm"}},
        "datasets": {"stamps": {"source": "stamps", "languages": ["en"]}},
        "stores": {
            "pairs": {
                "a": {"dataset": "stamps", "view": "vit", "encoder": "vit-s14"},
                "b": {"dataset": "stamps", "view": "minilm", "encoder": "minilm"},
            }
        },
        "curations": {"all": {"pool": ["stamps"], "view": "vit"}},
        "aligners": {},
    }


def models(union: Any) -> list[type[BaseModel]]:
    return list(get_args(union))


def kinds(model: type[BaseModel], tag: str) -> tuple[str, ...]:
    return get_args(model.model_fields[tag].annotation)


def pairs() -> Iterator[tuple[str, str, str]]:
    """Union, kind, and a key that only other kinds of the union have."""
    for name, (union, tag) in UNIONS.items():
        keys = {key for model in models(union) for key in model.model_fields}
        for model in models(union):
            for kind in kinds(model, tag):
                for key in sorted(keys - model.model_fields.keys()):
                    yield name, kind, key


def entry(name: str, kind: str) -> dict[str, Any]:
    tag = UNIONS[name][1]
    return {tag: kind, **copy.deepcopy(NEEDED.get(kind, PATH.get(tag, {})))}


def placed(raw: dict[str, Any], name: str, written: dict[str, Any]) -> str:
    """Put the entry where its union stands; gives the dotted place."""
    head = {"kind": "freeze-align"}
    aligner = {"views": ["vit", "minilm"], "data": "all", "head": head}
    raw["aligners"]["tried"] = aligner
    if name == "head":
        aligner["head"] = written
        return "aligners.tried.head"
    if name == "loss":
        head["loss"] = written
        return "aligners.tried.head.loss"
    if name == "form":
        aligner["head"] = {"kind": "closed-form", "forms": {"tried": written}}
        return "aligners.tried.head.forms.tried"
    raw[f"{name}s"]["tried"] = written
    return f"{name}s.tried"


@pytest.mark.parametrize(("name", "kind", "key"), list(pairs()))
def test_a_key_of_another_kind_is_refused_and_its_own_kinds_are_named(
    small: dict[str, Any], name: str, kind: str, key: str
) -> None:
    union, tag = UNIONS[name]
    where = placed(small, name, {**entry(name, kind), key: 1})
    message = refusal(small)
    assert f"`{where}.{key}` has no effect with {tag}: {kind}" in message
    takers = [own for model in models(union) if key in model.model_fields for own in kinds(model, tag)]
    assert all(taker in message.partition("it belongs to")[2] for taker in takers)


def test_there_are_as_many_pairs_as_the_schema_has() -> None:
    assert len({kind for _, kind, _ in pairs()}) > 25
    assert len(list(pairs())) > 400


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("form", {"kind": "procrustes", "shrink": [3.0]}, "belongs to kind: cca"),
        ("form", {"kind": "procrustes", "neighbours": [9]}, "belongs to kind: asif"),
        ("form", {"kind": "procrustes", "features": "fourier"}, "belongs to kind: kernel-ridge"),
        ("form", {"kind": "kernel-ridge", "features": "exact", "size": 9}, "`size` would have no effect"),
        ("form", {"kind": "cca", "weight": 2.0}, "`weight` of 'tried' would have no effect: it is the only form"),
        ("loss", {"kind": "info-nce", "bias": -3.0}, "belongs to kind: sigmoid"),
        ("view", {"encoder": "minilm", "resolution": 112}, "belongs to modality: image"),
        ("view", {"encoder": "vit-s14", "resolution": 112, "max_tokens": 9}, "belongs to modality: text"),
        ("view", {"encoder": "vit-s14", "resolution": 112, "tier": "cls", "grid": 2}, "`grid` would have no effect"),
        ("view", {"encoder": "vit-s14", "resolution": 112, "crop_scale": [0.1, 0.2]}, "`crop_scale` would have no"),
        ("head", {"kind": "identity", "embed_dim": 8}, "has no effect with kind: identity"),
        ("head", {"kind": "freeze-align", "image_input": "cls"}, "has no effect with kind: freeze-align"),
        ("head", {"kind": "closed-form", "forms": {"cca": {}}, "train": {"lr": 1.0}}, "train.lr` is not a key"),
        ("head", {"kind": "closed-form", "forms": {"cca": {}}, "whitening": {}}, "cca whitens by its own `shrink`"),
        ("dataset", {"source": "image-folder", "path": "x", "languages": ["de"]}, "those of `babel`"),
        ("dataset", {"source": "clip-benchmark", "path": "x", "languages": ["de"]}, "those of `babel`"),
        ("dataset", {"source": "image-folder", "path": "x", "language": "de"}, "set `captions: beside`"),
    ],
)
def test_keys_without_effect_inside_one_kind(
    small: dict[str, Any], name: str, written: dict[str, Any], message: str
) -> None:
    placed(small, name, written)
    assert message in refusal(small)
