"""Long files first, so that two workers end at about the same time; one has the small DAG's first run to wait for."""

import pytest

FIRST = ("dag/test_reruns_encoding.py", "encoders/", "evaluation/", "dag/test_reruns_heads.py", "dag/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((place for place, name in enumerate(FIRST) if f"tests/{name}" in path), len(FIRST))

    items.sort(key=rank)
