"""Fitting a row with all of its trials, and its hits on the tested pairs."""

import json
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from benchmarks.recipe_study.bundle import FUSED, Bundle, row_numbers
from benchmarks.recipe_study.rows import BATCH, LENGTHS, RATES, TEMPERATURES
from pipeline.alignment.closed_form.fit import fit_closed, resolved
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.fusion import behind, input_maps, through
from pipeline.alignment.heads import Head
from pipeline.alignment.training.members import Member
from pipeline.alignment.training.records import TrainedRepeat, best_record
from pipeline.alignment.training.trainer import train_members
from pipeline.config import TRAINED, ClosedFormHead, FitSpec, TrainChanges, TrainedHead, TrainParams
from pipeline.errors import ModelError
from pipeline.evaluation.metrics import first_hit_ranks, hits_at

CPU = torch.device("cpu")
Hits = dict[str, np.ndarray]  # "<data set> <direction>" -> (n,) bool


@dataclass(frozen=True)
class Budget:
    """The trials of a trained row: every pair of rate and temperature, at every length of the schedule."""

    values: Sequence[tuple[float, float]]
    lengths: Mapping[int, Mapping[str, int]]
    batch: int

    @classmethod
    def of(cls, keys: Mapping[str, Any], repeat: int) -> "Budget":
        """That of a row: all 24 trials, or what its `budget` names, for every repeat or one for each."""
        given = keys.get("budget")
        if given is None:
            return cls([(rate, temperature) for rate in RATES for temperature in TEMPERATURES], LENGTHS, BATCH)
        values = given["by_repeat"][repeat] if "by_repeat" in given else given["values"]
        lengths = {int(steps): length for steps, length in given["lengths"].items()}
        return cls([(rate, temperature) for rate, temperature in values], lengths, given["batch"])


@dataclass
class Fitted:
    """What became of a row in one repeat."""

    head: Head
    validation: float
    seconds: float
    trials: list[dict[str, Any]]


class Bench:
    """Fits rows on the features of a bundle; those of one view are moved to the device once.

    Args:
        bundle: what is read.
        development: fit without the families for development, and test on them.
        device: of trained heads; computed ones are fitted on the CPU.
        step: eager, compiled or captured.
    """

    def __init__(self, bundle: Bundle, development: bool, device: str, step: str) -> None:
        self._bundle, self._development = bundle, development
        self._device, self._step = torch.device(device), step
        self._data: dict[tuple[Any, ...], AlignmentData] = {}

    def part(self, name: str, keys: dict[str, Any], repeat: int) -> dict[str, Any]:
        """Fit a row in one repeat with all its trials, and test what validation chose of them, once."""
        spec = self._spec(keys)
        fitted = self._fit(keys, spec, repeat)
        hits = self._hits(keys, spec, fitted.head, repeat)
        return {
            "name": name, "keys": keys, "repeat": repeat, "development": self._development,
            "validation": fitted.validation, "seconds": fitted.seconds, "trials": fitted.trials,
            "device": self._device.type if not isinstance(spec, ClosedFormHead) else "cpu",
            "hits": {group: "".join(map(str, found.astype(int).tolist())) for group, found in hits.items()},
        }  # fmt: skip

    def _spec(self, keys: dict[str, Any]) -> TrainedHead | ClosedFormHead:
        image, text = (view.split(FUSED)[0] for view in keys["views"])  # for the head's entry any will do
        fit = {"image": image, "text": text, "datasets": self._bundle.meta["datasets"], "data": "all"}
        spec = FitSpec.model_validate_json(json.dumps({**fit, "head": keys["head"]})).head
        assert isinstance(spec, (ClosedFormHead, *TRAINED))
        return spec

    def _fit(self, keys: dict[str, Any], spec: TrainedHead | ClosedFormHead, repeat: int) -> Fitted:
        seed = int(self._bundle.meta["seed"]) * self._bundle.repeats + repeat
        started = time.perf_counter()
        if isinstance(spec, ClosedFormHead):
            data = self._features(keys, spec, CPU)
            maps = input_maps(data, repeat)
            head, recall, tried = fit_closed(resolved(spec, data)[0], through(data, maps), repeat, seed)
            return Fitted(behind(head, maps), recall, time.perf_counter() - started, [{"tried": tried}])
        data, kept, trials = self._features(keys, spec, self._device), None, []
        maps = input_maps(data, repeat)
        data = through(data, maps)
        budget = Budget.of(keys, repeat)
        for steps in budget.lengths:
            for result in self._train(data, spec, steps, budget, repeat, seed):
                result = replace(result, head=behind(result.head, maps))
                trials.append(self._trial(keys, spec, result, steps, repeat))
                if result.history and (kept is None or result.val_recall > kept.val_recall):
                    kept = result
        if kept is None:
            raise ModelError(f"every trial of repeat {repeat} diverged")
        return Fitted(kept.head, kept.val_recall, time.perf_counter() - started, trials)

    def _train(
        self, data: AlignmentData, spec: TrainedHead, steps: int, budget: "Budget", repeat: int, seed: int
    ) -> Sequence[TrainedRepeat]:
        """Every rate and temperature at one length: side by side on a GPU, one after the other on a CPU."""
        size = spec.train.batch_size or budget.batch
        batches = math.ceil(len(data.train[repeat]) / size)
        base = TrainParams(
            epochs=math.ceil(steps / batches), batch_size=budget.batch, checkpoint_seconds=0.0,
            step=self._step, **budget.lengths[steps],
        ).changed(spec.train)  # fmt: skip
        members = [
            Member(f"{rate:g}/{temperature:g}", seed, base.changed(TrainChanges(lr=rate, temperature=temperature)))
            for rate, temperature in budget.values
        ]
        together = [members] if self._device.type == "cuda" else [[member] for member in members]
        results: list[TrainedRepeat] = []
        for some in together:
            results += train_members(data, some, spec=spec, repeat=repeat, seed=seed, on_record=lambda _, __: None)
        return results

    def _trial(
        self, keys: dict[str, Any], spec: TrainedHead, result: TrainedRepeat, steps: int, repeat: int
    ) -> dict[str, Any]:
        params = result.member.params
        found: dict[str, Any] = {"steps": steps, "lr": params.lr, "temperature": params.temperature}
        if not result.history:
            return {**found, "validation": None}
        found |= {
            "validation": result.val_recall,
            "best_step": best_record(result.history).step,
            "last_step": result.history[-1].step,
            "last_validation": result.history[-1].val_recall,
        }
        if self._development:
            hits = self._hits(keys, spec, result.head, repeat)
            found["development"] = statistics.fmean(float(one.mean()) for one in hits.values())
        return found

    def _hits(self, keys: dict[str, Any], spec: TrainedHead | ClosedFormHead, head: Head, repeat: int) -> Hits:
        return answered(self._bundle, keys["views"], spec, head, repeat, self._development)

    def _features(
        self, keys: dict[str, Any], spec: TrainedHead | ClosedFormHead, device: torch.device
    ) -> AlignmentData:
        key = (*keys["views"], spec.local_tokens, spec.layers, device)
        if key not in self._data:
            self._data[key] = self._bundle.data(*key[:4], self._development, device)
        return self._data[key]


def answered(
    bundle: Bundle,
    views: Sequence[str],
    spec: TrainedHead | ClosedFormHead,
    head: Head,
    repeat: int,
    development: bool,
) -> Hits:
    """Hits of every query of what is tested, per data set and direction."""
    images, texts = bundle.images(views[0], spec.local_tokens, spec.layers), bundle.texts(views[1])
    head, found = head.to(CPU).eval(), {}
    for dataset, items in bundle.tested(repeat, development).items():
        with torch.no_grad():
            queries = head.image_features(images.take(row_numbers(items.images))).float().numpy()
            answers = head.text_features(texts.take(row_numbers(items.texts))).float().numpy()
        ranks = first_hit_ranks(queries, answers, items.positives)
        found[f"{dataset} i2t"] = hits_at(ranks, 1)
        found[f"{dataset} t2i"] = hits_at(first_hit_ranks(answers, queries, items.positives[:, ::-1]), 1)
    return found
