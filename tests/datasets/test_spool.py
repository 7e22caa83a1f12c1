"""Tables that are written as they grow, against a dictionary; and what they take of memory."""

import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets import spool
from pipeline.datasets.builder import IndexBuilder
from pipeline.datasets.spool import Digests, Spool, digest
from pipeline.datasets.tables import read_table

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int64()), ("words", pa.list_(pa.string()))])


def rows(count: int, distinct: int, seed: int) -> list[tuple[str, int, list[str]]]:
    drawn = random.Random(seed)
    return [(f"n{drawn.randrange(distinct)}", number, ["a", "b"][: number % 3]) for number in range(count)]


@pytest.mark.parametrize(("count", "distinct"), [(0, 1), (5, 9), (10, 9), (97, 10**6), (97, 20), (100, 40), (1000, 1)])
def test_each_key_once_in_the_order_in_which_it_came(
    count: int, distinct: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "ROW_GROUP", 10)
    monkeypatch.setattr(spool, "_PART", 16)
    expected: dict[str, tuple[str, int, list[str]]] = {}
    table = Spool(SCHEMA, tmp_path / "t.parquet")
    for row in rows(count, distinct, seed=count):
        expected.setdefault(row[0], row)
        table.add(digest(row[0]), row)
    assert table.finish() == len(expected)
    assert [tuple(entry.values()) for entry in read_table(tmp_path / "t.parquet").to_pylist()] == list(
        expected.values()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["t.parquet"]
    if len(expected) > 10:
        metadata = pq.ParquetFile(tmp_path / "t.parquet").metadata
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        assert sizes[:-1] == [10] * (len(sizes) - 1)


def test_keys_that_share_their_first_half_are_told_apart(tmp_path: Path) -> None:
    keys = Digests(tmp_path / "keys")
    keys.append([b"\xff" * 16, b"\xff" * 8 + b"\0" * 8, b"\0" * 16, b"\xff" * 16, b"\0" * 16])
    assert keys.first().tolist() == [True, True, True, False, False]
    keys.close()


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "ROW_GROUP", 250)
    monkeypatch.setattr(spool, "_PART", 250)

    def peak(count: int) -> int:
        tracemalloc.start()
        with IndexBuilder(tmp_path / str(count)) as builder:
            for number in range(count):
                identity = digest(str(number)).hex()
                builder.refer(identity, "/data/a.tar", (8, 8), str(number), number, 9)
                builder.link(identity, builder.add_text(f"a caption {number}", "en"), "en")
                builder.label(identity, identity)
            counts = builder.finish({})["counts"]
        assert counts == {"images": count, "texts": count, "pairs": count, "concepts": count, "failures": 0}
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(8000) < 1.6 * peak(2000)


def test_what_is_not_finished_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "ROW_GROUP", 2)
    with pytest.raises(KeyboardInterrupt), IndexBuilder(tmp_path) as builder:
        for number in range(9):
            builder.add_text(str(number), "en")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
