"""Longest files first, so that two workers end at about the same time."""

import pytest

LONGEST = ("dag/test_reruns.py", "dag/test_", "encoders/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((place for place, name in enumerate(LONGEST) if f"tests/{name}" in path), len(LONGEST))

    items.sort(key=rank)
