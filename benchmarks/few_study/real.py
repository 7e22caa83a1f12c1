"""Recipes on few of the embedded pairs: fitted on nested parts of train, tested on the families for development."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.few_study.fitting import Budget, fitted, head_of
from benchmarks.recipe_study.bundle import Bundle
from benchmarks.recipe_study.fitting import CPU, answered
from benchmarks.recipe_study.rows import CHOSEN, CLOSED, CONTROLS, DEFAULT, TRAINED, changed
from pipeline.alignment.data.inputs import TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.evaluation.metrics import chance_at
from pipeline.statistics import FamilyBootstrap

DRAWS = 5000
SIZES = (100, 300, 1000, 3000)
BUDGET = Budget(rates=(1.0e-3, 3.0e-3), steps=200, least=60, quiet=40, batch=128)
# six values each; where two keys are listed, every combination counts
VALUES: dict[str, dict[str, Any]] = {
    "asif": {"neighbours": [25, 100, 400], "exponent": [4.0, 8.0]},
    "procrustes": {},
    "ridge": {"ridge": [0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    "cca": {"shrink": [0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    "kernel-ridge": {"ridge": [0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
}
Parts = list[dict[str, Any]]  # one per repeat


def rows(default: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every recipe by name: views and head, as in params.yaml; the cheap ones first.

    Args:
        default: `views` and `head` of the aligner `default`.
    """
    found: dict[str, dict[str, Any]] = {DEFAULT: default}
    listed = {name: {**form, **VALUES[form["kind"]]} for name, form in default["head"]["forms"].items()}
    found[CHOSEN] = changed(default, forms=listed)
    for name, form in CLOSED.items():
        forms = {form["kind"]: {"kind": form["kind"], **VALUES[form["kind"]]}}
        found[name] = {**default, "head": {"kind": "closed-form", "local_tokens": "mean", "forms": forms}}
    found[CONTROLS[DEFAULT]] = changed(default, image="control")
    for name, head in sorted(TRAINED.items(), key=lambda one: one[0] in ("SAIL", "FuseMix", "SAIL, multi-positive")):
        train = head.get("train", {}) | ({"temperature": 0.03} if name == "FuseMix" else {})
        found[name] = {**default, "head": {**head, "train": train}}
    del found["SAIL, multi-positive"]  # level with SAIL on all pairs, and as slow
    return found


class Curve:
    """Fits rows to parts of the train splits.

    Args:
        bundle: what is read. Its families for development are left out of train and validation, and are tested.
        further: captions by image row as rows of `texts`, where a row asks for more than the pairs of the bundle.
        texts: features (T, D) of further captions, after those of the bundle.
    """

    def __init__(self, bundle: Bundle, budget: Budget = BUDGET, texts: torch.Tensor | None = None) -> None:
        self.bundle, self._budget, self._texts = bundle, budget, texts
        self._data: dict[tuple[Any, ...], AlignmentData] = {}

    @property
    def most(self) -> int:
        """Training pairs of the repeat that has the fewest."""
        return min(map(len, self._of(("vit", "minilm", "mean", 1)).train))

    def sizes(self, wanted: Sequence[int]) -> list[int]:
        """The sizes that every repeat has, and all of its pairs as the last."""
        return [size for size in wanted if size < 0.9 * self.most] + [0]

    def parts(self, keys: dict[str, Any], size: int, further: dict[int, list[int]] | None = None) -> Parts:
        """Fit and test a row in every repeat.

        Args:
            size: training pairs, 0 for all of the repeat.
            further: rows of captions in `texts` by image row, which are trained on as well.
        """
        return [self._part(keys, size, repeat, further) for repeat in range(self.bundle.repeats)]

    def _part(
        self, keys: dict[str, Any], size: int, repeat: int, further: dict[int, list[int]] | None
    ) -> dict[str, Any]:
        spec = head_of(keys["head"])
        data = self._of((*keys["views"], spec.local_tokens, spec.layers))
        train = few(data.train[repeat], size, repeat)
        used = train if further is None else self._with(train, further)
        data = dataclasses.replace(data, train=tuple(used if r == repeat else one for r, one in enumerate(data.train)))
        found = fitted(
            spec, _alone(data, repeat), 0, int(self.bundle.meta["seed"]) * self.bundle.repeats + repeat, self._budget
        )
        hits = answered(self.bundle, keys["views"], spec, found.head, repeat, True)
        return {
            "repeat": repeat, "pairs": len(train), "fitted_pairs": len(used), "validation": found.validation,
            "seconds": round(found.seconds, 3), "trials": found.trials,
            "hits": {group: "".join(map(str, one.astype(int).tolist())) for group, one in hits.items()},
        }  # fmt: skip

    def _with(self, train: torch.Tensor, further: dict[int, list[int]]) -> torch.Tensor:
        offset = len(self.bundle.tensors["text/minilm"])
        added = [
            (image, offset + text) for image in dict.fromkeys(train[:, 0].tolist()) for text in further.get(image, [])
        ]
        return torch.cat([train, torch.tensor(added, dtype=train.dtype).reshape(-1, 2)])

    def _of(self, key: tuple[Any, ...]) -> AlignmentData:
        if key not in self._data:
            data = self.bundle.data(*key, True, CPU)
            if self._texts is not None:
                texts = TextInput.from_pooled(torch.cat([self.bundle.tensors[f"text/{key[1]}"], self._texts]))
                data = dataclasses.replace(
                    data, features=ResidentFeatures(data.features.images.inputs, texts, data.features.device)
                )
            self._data[key] = data
        return self._data[key]


def few(train: torch.Tensor, size: int, repeat: int) -> torch.Tensor:
    """So many of the pairs (P, 2), drawn evenly; those of a smaller size are among those of a larger one."""
    if not size:
        return train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(repeat))[:size]
    return train[order.sort().values]


def _alone(data: AlignmentData, repeat: int) -> AlignmentData:
    """The same with one repeat, so that what depends on the largest train split depends on this one."""
    return dataclasses.replace(data, train=(data.train[repeat],), validation=(data.validation[repeat],))


class Answers:
    """The queries of all repeats, and what a row answered on them."""

    def __init__(self, bundle: Bundle) -> None:
        self._names: list[tuple[int, str]] = []
        families, chance = [], []
        for repeat in range(bundle.repeats):
            for dataset, items in bundle.tested(repeat, True).items():
                for way in ("i2t", "t2i"):
                    of_query, counts, candidates = items.side(way)
                    families.append(of_query)
                    chance.append(chance_at(counts, candidates, 1))
                    self._names.append((repeat, f"{dataset} {way}"))
        sizes = [len(one) for one in families]
        group = np.repeat([name for _, name in self._names], sizes)
        repeat = np.repeat([number for number, _ in self._names], sizes)
        self.boot = FamilyBootstrap(np.concatenate(families), DRAWS, 0, group, repeat)
        self.chance = self.boot.value(np.concatenate(chance))

    def hits(self, parts: Parts) -> np.ndarray:
        """(n,) of all queries in one order."""
        by_repeat = {part["repeat"]: part["hits"] for part in parts}
        return np.concatenate([np.array(list(by_repeat[r][name]), dtype=np.float64) for r, name in self._names])

    def figures(self, parts: Parts, other: Parts | None) -> dict[str, Any]:
        """Value and interval of a row; difference from and ratio to another, paired by query."""
        hits = self.hits(parts)
        found: dict[str, Any] = {"recall@1": self.boot.value(hits), "ci": self.boot.interval(hits)}
        if other is not None:
            compared = self.boot.compare(hits, self.hits(other))
            found |= {
                "difference": compared.difference, "difference_ci": compared.interval, "ratio": compared.ratio,
                "ratio_ci": compared.ratio_interval, "p": compared.p,
            }  # fmt: skip
        return found
