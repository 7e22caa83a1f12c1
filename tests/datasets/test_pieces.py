"""Tables in pieces are the same files as whole ones, and are read as whole ones are."""

import hashlib
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipeline.datasets import tables
from pipeline.datasets.fill import fill
from pipeline.datasets.hash_order import hash_order
from pipeline.datasets.tables import read_pieces, read_table, write_pieces, write_table
from pipeline.errors import DataError

SCHEMA = pa.schema([("name", pa.string()), ("number", pa.int64())])


@pytest.mark.parametrize("seed", range(8))
def test_pieces_of_any_length_make_the_same_file(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = random.Random(seed)
    monkeypatch.setattr(tables, "ROW_GROUP", drawn.randint(1, 7))
    rows = 0 if seed == 0 else drawn.randint(1, 60)
    names = [None if row % 4 == 3 else f"n{row % 5}" for row in range(rows)]
    whole = pa.table([pa.array(names, pa.string()), pa.array(range(rows), pa.int64())], schema=SCHEMA)
    cuts = sorted(drawn.choices(range(rows + 1), k=5))
    pieces = [whole.slice(start, stop - start) for start, stop in zip([0, *cuts], [*cuts, rows], strict=True)]
    write_table(whole, tmp_path / "whole.parquet")
    assert write_pieces(pieces, SCHEMA, tmp_path / "pieces.parquet") == rows
    assert (tmp_path / "pieces.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".parquet"] == []
    read = list(read_pieces(tmp_path / "pieces.parquet", ["number"]))
    assert [number for piece in read for number in piece.column(0).to_pylist()] == list(range(rows))
    assert all(len(piece) <= tables.ROW_GROUP for piece in read)


def test_errors_are_those_of_whole_tables(tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    write_table(SCHEMA.empty_table(), tmp_path / "good.parquet")
    for path, column in (("none", "name"), ("bad", "name"), ("good", "other")):
        with pytest.raises(DataError) as whole:
            read_table(tmp_path / f"{path}.parquet", [column])
        with pytest.raises(DataError) as pieces:
            list(read_pieces(tmp_path / f"{path}.parquet", [column]))
        assert str(pieces.value) == str(whole.value)


def test_hash_order_is_that_of_whole_hashes() -> None:
    names = [f"caf\u00e9 {row}" for row in range(500)]
    digest = {name: hashlib.sha256(f"7:{name}".encode()).digest() for name in names}
    assert [names[place] for place in hash_order("7", names)] == sorted(names, key=digest.__getitem__)


@pytest.mark.parametrize("seed", range(30))
def test_filling_takes_families_one_by_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.datasets.fill._BLOCK", 1 + seed % 9)
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 6, (40, 3)) * (generator.random((40, 3)) < 0.6)
    room, order = generator.integers(-2, 30, 3), generator.permutation(40)
    left, expected = room.copy(), []
    for family in order.tolist():
        wanted = images[family]
        if all(number == 0 or number <= free for number, free in zip(wanted, left, strict=True)):
            expected.append(family)
            left -= wanted
    assert fill(images, room, order).tolist() == expected
