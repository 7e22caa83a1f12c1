"""Names of results in plain English."""

import pytest

from pipeline.reporting.names import counted, listed, metric


@pytest.mark.parametrize(
    ("names", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_lists(names: list[str], text: str) -> None:
    assert listed(names) == text


def test_counts() -> None:
    assert [counted(number, "pair") for number in (0, 1, 2)] == ["0 pairs", "1 pair", "2 pairs"]


def test_unknown_metrics_keep_their_name() -> None:
    assert metric("t2i_recall@5") == "text to image, R@5"
    assert metric("a_new_metric") == "a_new_metric"
