"""Corrections of hubs against loops over every query and candidate, and the task that reports them apart."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.config import Correction, EvaluateSettings
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.errors import ConfigError
from pipeline.evaluation import evaluate_task, hubness
from pipeline.evaluation.corrected_retrieval import training_sets
from pipeline.evaluation.embeddings import TrainedAligner
from pipeline.evaluation.hubness import correction
from pipeline.evaluation.metrics import first_hit_ranks
from pipeline.evaluation.results import TaskResult
from tests.alignment.toy import World
from tests.evaluation.test_end_to_end import evaluate_on, inside, trained  # noqa: F401 (fixtures)

METHODS: tuple[Correction, ...] = ("csls", "inverted-softmax", "dual-softmax")


def units(rng: np.random.Generator, rows: int, width: int = 5) -> np.ndarray:
    vectors = rng.normal(size=(rows, width))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def by_hand(
    method: str, query: np.ndarray, candidate: np.ndarray, bank: np.ndarray, neighbours: int, scale: float
) -> float:
    cosine = sum(float(a) * float(b) for a, b in zip(query, candidate, strict=True))
    others = [sum(float(a) * float(b) for a, b in zip(one, candidate, strict=True)) for one in bank]
    if method == "csls":
        nearest = sorted(others, reverse=True)[:neighbours]
        return 2 * cosine - sum(nearest) / len(nearest)
    share = math.exp(scale * cosine) / sum(math.exp(scale * other) for other in others)
    return math.log(share) if method == "inverted-softmax" else cosine * share


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", [3, 40])  # fewer queries than neighbours, and more
def test_every_score_is_that_of_the_formula(method: Correction, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubness, "_CHUNK_SCORES", 4 * rows)  # candidates by fours
    rng = np.random.default_rng(0)
    bank, queries, candidates = units(rng, rows), units(rng, 6), units(rng, 11)
    corrected = correction(method, bank, candidates, neighbours=7, scale=20.0)(queries @ candidates.T)
    expected = [[by_hand(method, q, c, bank, 7, 20.0) for c in candidates] for q in queries]
    np.testing.assert_allclose(corrected, expected, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_hub_that_wins_every_query_loses_to_the_right_candidates(method: Correction) -> None:
    queries = np.eye(6, dtype=np.float32)
    hub = np.full(6, 6**-0.5, dtype=np.float32)
    right = np.sqrt(0.15) * queries + np.sqrt(0.85) * np.roll(-queries, 1, axis=1)  # cosine 0.387 < 0.408 of the hub
    candidates = np.concatenate([right, hub[None]]).astype(np.float32)
    positives = np.stack([np.arange(6)] * 2, axis=1)
    assert first_hit_ranks(queries, candidates, positives).tolist() == [2] * 6
    rescore = correction(method, queries, candidates, neighbours=3, scale=30.0)
    assert first_hit_ranks(queries, candidates, positives, rescore).tolist() == [1] * 6


def test_ties_of_corrected_scores_count_against_the_system_and_an_empty_bank_is_refused() -> None:
    same = np.ones((4, 1), dtype=np.float32)
    positives = np.stack([np.arange(4)] * 2, axis=1)
    for method in METHODS:
        rescore = correction(method, same, same, neighbours=2, scale=10.0)
        assert first_hit_ranks(same, same, positives, rescore).tolist() == [4] * 4
        with pytest.raises(ValueError, match="at least one query"):
            correction(method, same[:0], same, neighbours=2, scale=10.0)


TASK = {"datasets": ["emoji", "stamps"], "recall_at": [1, 5]}


def settings_of(world: World, **changes: object) -> EvaluateSettings:
    tasks = {"retrieval": TASK, "corrected_retrieval": TASK | changes}
    settings = world.config(evaluate={"tasks": tasks}).settings("evaluate", "corrected_retrieval")
    assert isinstance(settings, EvaluateSettings)
    return settings


def test_corrected_scores_stand_apart_and_plain_ones_stay_as_they_are(inside: World) -> None:  # noqa: F811
    evaluate_on(inside.config(evaluate={"tasks": {"retrieval": TASK}}), "retrieval")
    plain_file = Path("data/results/retrieval.json")
    before = plain_file.read_bytes()
    result = evaluate_task(settings_of(inside))
    assert TaskResult.read(Path("data/results/corrected_retrieval.json")) == result
    evaluate_on(inside.config(evaluate={"tasks": {"retrieval": TASK, "corrected_retrieval": TASK}}), "retrieval")
    assert plain_file.read_bytes() == before
    assert {row.metric for row in result.rows} == {
        f"{method}_{bank}_{way}_recall@{k}"
        for method in METHODS for bank in ("training", "test") for way in ("i2t", "t2i") for k in (1, 5)
    }  # fmt: skip
    assert {row.aligner for row in result.rows} == {"default", "control"}
    assert "transductive" in result.protocol
    assert "nothing was tuned" in result.protocol
    assert json.loads(Path("data/results/corrected_retrieval.examples.json").read_text())["examples"] == []
    plain = {
        (r.aligner, r.dataset, r.metric): r.value for r in TaskResult.read(plain_file).rows if "recall" in r.metric
    }
    corrected = {(r.aligner, r.dataset, r.metric): r.value for r in result.rows}
    changes = [d for d in result.differences if d.versus == f"{d.aligner} uncorrected"]
    assert len(changes) == len(result.rows)
    for change in changes:
        own, where = change.aligner, change.dataset
        gained = corrected[own, where, change.metric] - plain[own, where, change.metric.split("_", 2)[2]]
        assert change.difference == pytest.approx(gained)


def test_ranks_of_the_task_are_those_of_all_scores_of_a_repeat(inside: World) -> None:  # noqa: F811
    settings = settings_of(inside, methods=["csls"], queries=["training"], neighbours=4, datasets=["emoji"])
    result = evaluate_task(settings)
    aligner = TrainedAligner("default", settings.aligners["default"], 2, torch.device("cpu"))
    pairs = read_caption_pairs(["emoji"], 2)
    hits = []
    for repeat in range(2):
        test, train = pairs.of(repeat, "test"), pairs.of(repeat, "train")
        texts, images = np.unique(test.text_id.astype(str)), np.unique(test.image_id.astype(str))
        bank = aligner.text_vectors(repeat, "pairs", "emoji", np.unique(train.text_id.astype(str)))
        image_vectors = aligner.image_vectors(repeat, "emoji", images)
        right = set(zip(test.text_id.tolist(), test.image_id.tolist(), strict=True))
        seen = np.sort(bank @ image_vectors.T, axis=0)[-4:].mean(axis=0)
        for text, vector in zip(texts, aligner.text_vectors(repeat, "pairs", "emoji", texts), strict=True):
            hits.append((str(text), str(images[(2 * image_vectors @ vector - seen).argmax()])) in right)
    (row,) = [r for r in result.rows if (r.aligner, r.metric) == ("default", "csls_training_t2i_recall@1")]
    assert row.value == pytest.approx(np.mean(hits))


def test_training_queries_are_of_training_families_alone(inside: World) -> None:  # noqa: F811
    settings = settings_of(inside)
    pairs = read_caption_pairs(["stamps"], 2)
    aligner = TrainedAligner("default", settings.aligners["default"], 2, torch.device("cpu"))
    banks = training_sets(pairs, "stamps", {0: None, 1: None}, [aligner])  # type: ignore[dict-item]
    for repeat, bank in banks.items():
        held_out = set(pairs.family[pairs.splits[:, repeat] != "train"].tolist())
        assert held_out
        assert not held_out & set(bank.image_families.tolist())
        assert not held_out & set(bank.text_families.tolist())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["cls"]}, "methods"),
        ({"methods": []}, "at least 1"),
        ({"neighbours": 0}, "neighbours"),
        ({"queries": ["test", "test"]}, "test"),
        ({"datasets": ["emojis"]}, "Did you mean"),
    ],
)
def test_what_the_task_cannot_be(inside: World, changes: dict[str, object], message: str) -> None:  # noqa: F811
    with pytest.raises(ConfigError, match=message):
        settings_of(inside, **changes)
