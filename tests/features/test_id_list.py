"""Ids at the door of a store: what is taken as a list of them, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import DataError, MissingRows
from pipeline.features import FeatureStore
from tests.features.stores import write_store

IDS = ["id2", "id0", "id2"]
TAKEN: dict[str, Callable[[list[str]], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda ids: (one for one in ids),
    "array": np.array,
    "array of objects": lambda ids: np.array(ids, dtype=object),
    "strings of NumPy": lambda ids: list(np.array(ids)),
    "column": lambda ids: pd.Series(ids, index=[9, 8, 7]),
    "nothing": lambda ids: ids[:0],
}
REFUSED: list[tuple[Any, str]] = [
    (None, r"expected a list of ids, .* found None \(NoneType\)"),
    (3, r"found 3 \(int\)"),
    ("id0", "found 'id0'. For one id write"),
    (b"id0", "For one id write"),
    ({"id0"}, "in the order of the rows"),
    ({"id0": 1}, "dict"),
    (np.array([["id0"]]), "expected a list of ids"),
    (np.array("id0"), "expected a list of ids"),
    (["id0", ["id1"]], r"id 1 should be a string, found \['id1'\] \(list\)"),
    ([{"id0"}], "id 0 should be a string"),
    (["id0", 1], r"id 1 should be a string, found 1 \(int\)"),
    (np.array([0, 1]), "id 0 should be a string, found .*0.* .int64."),
    ([None], "found None"),
    ([b"id0"], "found b'id0'"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    return FeatureStore.open(write_store(tmp_path_factory.mktemp("ids"), {"pooled": values}, 2))


@pytest.mark.parametrize("kind", TAKEN)
def test_ids_are_taken_in_any_ordered_form(store: FeatureStore, kind: str) -> None:
    made, rows = TAKEN[kind], [] if kind == "nothing" else [2, 0, 2]
    assert store.rows(made(IDS)).tolist() == rows
    assert store.servable(made(IDS)).tolist() == store.holds(made(IDS)).tolist() == [True] * len(rows)
    np.testing.assert_array_equal(store.read("pooled", made(IDS)), store.array("pooled").take(np.array(rows, int)))


@pytest.mark.parametrize(("ids", "message"), REFUSED)
def test_other_ids_are_refused(store: FeatureStore, ids: Any, message: str) -> None:
    calls: list[Callable[[Any], Any]] = [store.rows, store.servable, store.holds, lambda ids: store.read("pooled", ids)]
    for call in calls:
        with pytest.raises(DataError, match=message):
            call(ids)


def test_a_lacking_id_of_a_generator_is_named(store: FeatureStore) -> None:
    with pytest.raises(MissingRows, match="lacks 1 of 2 requested ids, the first 'nowhere'"):
        store.rows(one for one in ("id0", "nowhere"))
    with pytest.raises(DataError, match="lacks 1 of 2 ids"):
        store.servable(pd.Series(["nowhere", "id1"], index=[5, 6]))
