"""The order of files for two workers: one begins with the small DAG's first run, which all files of `dag` wait for; the
other does what needs no DAG meanwhile. Long files come before short ones, so that both end at about the same time."""

import pytest

FIRST = "tests/dag/test_reruns_encoding.py"
LAST = (
    "tests/dag/test_campaign.py",
    "tests/dag/test_reruns_heads.py",
    "tests/dag/test_declarations.py",
    "tests/dag/test_store_command.py",
    "tests/dag/test_experiments.py",
    "tests/dag/test_sharing.py",
    "tests/dag/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.as_posix()
        if path.endswith(FIRST):
            return 0
        return 1 + next((place for place, name in enumerate(LAST, 1) if name in path), 0)

    items.sort(key=rank)
