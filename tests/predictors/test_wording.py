"""Answers in words: what is established by how many encoders."""

from typing import Any

from pipeline.predictors.wording import sentences


def record(**others: Any) -> dict[str, Any]:
    known = {"predictor": "cka", "points": "all", "scope": "texts", "images": 5, "texts": 4, "spearman": 0.36}
    known |= {"ci": [-1.0, 1.0], "p": 0.75, "partial": None, "regret": 0.1, "regret_chance": 0.2}
    return known | others


def test_a_sentence_has_the_figures_and_the_number_of_encoders() -> None:
    assert sentences([record()]) == [
        "cka (all), over 4 text encoders, within each of 5 image encoders: Spearman +0.36 [-1.00, +1.00], p = 0.750; "
        "size and width controlled too few to control; the encoder it picks loses 10% of the best recall (a random "
        "one 20%)."
    ]


def test_three_encoders_establish_nothing() -> None:
    (line,) = sentences([record(texts=3, spearman=1.0, ci=[1.0, 1.0])])
    assert line.endswith("Too few encoders to establish anything.")


def test_too_few_encoders_are_said_once_for_all_predictors() -> None:
    lines = sentences([record(spearman=None, predictor=name) for name in ("cka", "mutual_knn")])
    assert len(lines) == 1
    assert "too few encoders to correlate over" in lines[0]
