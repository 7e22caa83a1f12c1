"""Recipes on synthetic pairs, from a hundred to a million, beside the best that any method could do."""

import time
from collections.abc import Iterator, Set
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.few_study.fitting import Budget, fitted, head_of
from benchmarks.few_study.worlds import Setting, World, first_hits, linear_share
from pipeline.alignment.closed_form.kernel import draw_features, gamma_of
from pipeline.alignment.closed_form.linear import cca
from pipeline.alignment.closed_form.moments import MomentSums
from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.resident import ResidentFeatures
from pipeline.alignment.heads import Head
from pipeline.alignment.heads.ensemble import Ensemble
from pipeline.alignment.heads.fitted import Affine
from pipeline.alignment.heads.two_networks import TwoNetworks
from pipeline.alignment.validation import read_validation, validation_recall
from pipeline.statistics import FamilyBootstrap

CPU = torch.device("cpu")
DRAWS = 2000
TESTED = 1000  # queries and candidates
VALIDATION = 500
TRAIN_STREAM, TEST_STREAM, VALIDATION_STREAM = 0, 1, 2
SETTINGS = {
    "linear, Gaussian": Setting("gaussian", 0.92),
    "smooth, Gaussian": Setting("gaussian", 0.92, length=1.0),
    "rough, Gaussian": Setting("gaussian", 0.92, length=0.5),
    "smooth, sphere": Setting("sphere", 42.0, length=1.0),
    "smooth, Gaussian, wide": Setting("gaussian", 0.8, length=1.0, shared=16, private=48, widths=(256, 192)),
}
SIZES = (100, 300, 1000, 3000, 10_000, 100_000, 1_000_000)
SUM = "CCA + kernel ridge"
KERNEL_CCA_SIZE, KERNEL_CCA_WIDTH, KERNEL_CCA_SHRINKS = 512, 64, (0.01, 0.1, 1.0, 10.0)
LANDMARKS = 1024  # of Nystrom's beyond
ASIF_LARGEST = 10_000  # pairs that are kept as anchors
EXACT_LARGEST = 3000  # pairs of the exact kernel, whose cost is their number cubed
_VECTOR = {"local_tokens": "none", "image_input": "cls"}
# fitted in one pass over the pairs; the values are those of the default, and five more of each
FORMS: dict[str, dict[str, Any]] = {
    "Procrustes": {"kind": "procrustes"},
    "ridge": {"kind": "ridge", "ridge": [0.001, 0.01, 0.1, 0.3, 1.0, 3.0]},
    "CCA": {"kind": "cca", "shrink": [0.001, 0.01, 0.1, 0.3, 1.0, 3.0]},
    "kernel ridge": {"kind": "kernel-ridge", "ridge": [0.01, 0.1, 0.3, 1.0, 3.0, 10.0]},
}
ASIF = {"kind": "asif", "neighbours": [25, 100, 400], "exponent": [4.0, 8.0]}
TRAINED: dict[str, dict[str, Any]] = {
    "linear + InfoNCE": {"kind": "linear", **_VECTOR},
    "MLP + InfoNCE": {"kind": "mlp", **_VECTOR},
    "Freeze-Align": {"kind": "freeze-align", "local_tokens": "none"},
    "SAIL": {"kind": "gated-unit", **_VECTOR, "loss": {"kind": "sigmoid", "positives": "own"}},
}  # fmt: skip
# no form of params.yaml: CCA made nonlinear, for the question what training itself adds
KERNEL_CCA = "kernel CCA"
COMPUTED = (*FORMS, SUM, "ASIF", KERNEL_CCA)


def budget_of(pairs: int) -> Budget:
    """What a trained head gets for so many pairs: more steps and no dropout where they are many."""
    few = pairs <= EXACT_LARGEST
    steps = 400 if few else {10_000: 1000, 100_000: 1500}.get(pairs, 2500)
    return Budget(
        rates=(1.0e-3, 3.0e-3) if few else (3.0e-3,), steps=steps, least=100 if few else 500, quiet=80 if few else 300,
        batch=128 if few else 512, every=20 if few else 100, dropout=0.1 if few else 0.0,
    )  # fmt: skip


class Study:
    """One drawn world: what is trained on, validated on and tested on.

    Args:
        most: training pairs that are drawn.
    """

    def __init__(self, setting: Setting, seed: int, most: int, tested: int = TESTED) -> None:
        self.world, self.seed = World(setting, seed), seed
        self.test = self.world.draw(tested, TEST_STREAM)
        validation = self.world.draw(min(VALIDATION, tested), VALIDATION_STREAM)
        train = self.world.draw(most, TRAIN_STREAM)
        x, y = (
            torch.from_numpy(np.concatenate([one.features[side] for one in (train, validation)])) for side in (0, 1)
        )
        self._features = ResidentFeatures(images_of(x), TextInput.from_pooled(y), torch.empty(0).device)
        self._validation = _pairs(most, most + len(validation.features[0]))

    def data(self, pairs: int) -> AlignmentData:
        """The first so many training pairs."""
        return AlignmentData(self._features, (_pairs(0, pairs),), (self._validation,), {}, ("pairs",))

    def ceiling(self) -> np.ndarray:
        """Hits of the Bayes-optimal score on the test pairs, (2N,)."""
        return np.concatenate(first_hits(self.world.scores(*self.test.shared)))

    def cosines(self) -> np.ndarray:
        """Hits of the cosine of the true shared coordinates, (2N,): what a head that found them would reach."""
        u, v = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in self.test.shared)
        return np.concatenate(first_hits(u @ v.T))

    def hits(self, head: Head) -> np.ndarray:
        """Hits of a head on the test pairs, (2N,)."""
        x, y = (torch.from_numpy(one) for one in self.test.features)
        with torch.no_grad():
            u, v = head.image_features(images_of(x)), head.text_features(TextInput.from_pooled(y))
        return np.concatenate(first_hits((u @ v.T).double().numpy()))

    def linear_share(self) -> float:
        """See `worlds.linear_share`; on the test pairs of a larger draw."""
        return linear_share(self.world.draw(20_000, TEST_STREAM))

    def computed(self, pairs: int, names: Set[str]) -> Iterator[tuple[str, np.ndarray, dict[str, Any]]]:
        """Those closed forms with their hits and what is recorded of them."""
        if "ASIF" in names:
            yield "ASIF", *self._asif(pairs)
        if KERNEL_CCA in names:
            yield KERNEL_CCA, *self.kernel_cca(pairs)
        if names <= {"ASIF", KERNEL_CCA}:
            return
        data = self.data(pairs)
        names = {name.lower().replace(" ", "-"): name for name in FORMS}
        forms = {name: FORMS[title] | _kernel(title, pairs) for name, title in names.items()}
        found = fitted(
            head_of({"kind": "closed-form", **_VECTOR, "forms": forms}), data, 0, self.seed, budget_of(pairs)
        )
        assert isinstance(found.head, Ensemble)
        members = dict(zip(names.values(), found.head.members, strict=True))
        together = {"seconds": found.seconds, "trials": found.trials}
        for name, head in members.items():
            assert isinstance(head, Head)
            yield name, self.hits(head), together
        pair = [members["CCA"], members["kernel ridge"]]
        yield SUM, self.hits(Ensemble(pair, [1.0, 1.0])), together  # type: ignore[arg-type]

    def _asif(self, pairs: int) -> tuple[np.ndarray, dict[str, Any]]:
        kept = min(pairs, ASIF_LARGEST)
        spec = head_of({"kind": "closed-form", **_VECTOR, "forms": {"asif": ASIF}})
        asif = fitted(spec, self.data(kept), 0, self.seed, budget_of(pairs))
        return self.hits(asif.head), {"seconds": asif.seconds, "trials": asif.trials, "sample": kept}

    def kernel_cca(self, pairs: int) -> tuple[np.ndarray, dict[str, Any]]:
        """CCA of Nystrom features of both sides; bandwidth and shrinkage by validation."""
        started, data = time.perf_counter(), self.data(pairs)
        sides = self._features.images.inputs.cls, self._features.texts.inputs.tokens[:, 0]
        validation, highest, best = read_validation(data, 0), -1.0, None
        for bandwidth in (1.0, 4.0):
            generator, maps = torch.Generator().manual_seed(self.seed), []
            for side in sides:
                rows = side[: min(pairs, 8192)]
                centre = Affine(rows.mean(0))
                gamma = gamma_of(rows.var(0), bandwidth)
                features, root = draw_features("nystrom", centre(rows), KERNEL_CCA_SIZE, gamma, generator)
                assert root is not None
                maps.append((centre, features, root))
            sums = MomentSums()
            for start in range(0, pairs, 8192):
                stop = min(pairs, start + 8192)
                blocks = [of(centre(side[start:stop])) for (centre, of, _), side in zip(maps, sides, strict=True)]
                sums.add(blocks[0], blocks[1])
            raw = sums.moments()
            moments = raw.mapped(maps[0][2], maps[1][2])
            for shrink in KERNEL_CCA_SHRINKS:
                found = cca(moments, shrink, 1.0, KERNEL_CCA_WIDTH)
                networks = [
                    nn.Sequential(centre, of, Affine(mean, root @ matrix))
                    for (centre, of, root), mean, matrix in zip(maps, (raw.mean_x, raw.mean_y), found, strict=True)
                ]
                head = TwoNetworks("cls", networks[0], networks[1]).eval()
                if (recall := validation_recall(head, validation)) > highest:
                    highest, best = recall, head
        assert best is not None
        tried = 2 * len(KERNEL_CCA_SHRINKS)
        return self.hits(best), {"seconds": time.perf_counter() - started, "trials": [{"tried": tried}]}

    def trained(self, name: str, pairs: int) -> tuple[np.ndarray, dict[str, Any]]:
        """A trained head."""
        found = fitted(head_of(TRAINED[name]), self.data(pairs), 0, self.seed, budget_of(pairs))
        return self.hits(found.head), {"seconds": found.seconds, "trials": found.trials}


def _kernel(title: str, pairs: int) -> dict[str, Any]:
    """The exact kernel where it is affordable, else Nystrom's."""
    if title != "kernel ridge":
        return {}
    return {"features": "exact"} if pairs <= EXACT_LARGEST else {"features": "nystrom", "size": LANDMARKS}


def images_of(x: torch.Tensor) -> ImageInput:
    """Vectors (n, D) as images without local tokens."""
    return ImageInput(x, x[:, None, :][:, :0])


def figures(hits: list[np.ndarray], other: list[np.ndarray] | None = None) -> dict[str, Any]:
    """Value and interval over the test pairs of all seeds; difference from another row, paired by query."""
    size = len(hits[0]) // 2
    pair = np.concatenate(
        [np.tile(np.char.add(f"{seed}/", np.arange(size).astype(str)), 2) for seed in range(len(hits))]
    )
    repeat = np.repeat(np.arange(len(hits)), 2 * size) if len(hits) > 1 else None
    boot = FamilyBootstrap(pair, DRAWS, 0, repeat=repeat)
    mine = np.concatenate(hits).astype(np.float64)
    found: dict[str, Any] = {"recall@1": boot.value(mine), "ci": boot.interval(mine)}
    if other is not None:
        compared = boot.compare(mine, np.concatenate(other).astype(np.float64))
        found |= {"difference": compared.difference, "difference_ci": compared.interval, "p": compared.p}
    return found


def _pairs(start: int, stop: int) -> torch.Tensor:
    return torch.arange(start, stop)[:, None].expand(-1, 2).contiguous()
