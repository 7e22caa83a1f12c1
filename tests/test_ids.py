"""Ids and columns behave as lists of strings do, whatever the strings are, and hold no object per row."""

import gc
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.coded import Coded
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.datasets.sample_table import SampleTable
from pipeline.datasets.tables import IMAGES, JOINT_PAIRS, PAIRS, TEXTS, write_table
from pipeline.encoding.plan import image_plan, text_plan
from pipeline.features.reader import read_rows
from pipeline.features.shards import row_list, write_rows
from pipeline.ids import Ids
from pipeline.row_map import GrowingRowMap, RowMap

HEXADECIMAL = st.text("0123456789abcdef", min_size=32, max_size=32)
STRINGS = st.one_of(HEXADECIMAL, st.text("0123456789abcdefABCDEF", min_size=30, max_size=33), st.text(max_size=40))
SOME = st.one_of(st.lists(HEXADECIMAL, max_size=40), st.lists(STRINGS, max_size=40))
LOOKED_UP = settings(deadline=None, max_examples=200)


def valid(strings: list[str]) -> list[str]:
    """Those that UTF-8 can hold."""
    return [string for string in strings if string.encode("utf-8", "ignore").decode() == string]


@LOOKED_UP
@given(SOME, st.data())
@example(["0" * 32, "f" * 32, "", "\0", "a\0"], None)
def test_ids_are_a_list_of_strings(strings: list[str], data: st.DataObject | None) -> None:
    strings = valid(strings)
    ids = Ids.of(strings)
    assert ids.tolist() == list(ids) == strings
    assert ids.strings().to_pylist() == strings
    assert Ids.of(pa.chunked_array([strings[:3], strings[3:]], pa.string())).tolist() == strings
    assert [strings[row] for row in ids.in_order()] == sorted(strings)
    codes, first = ids.numbered()
    assert first.tolist() == [strings.index(one) for one in dict.fromkeys(strings)]
    assert [strings[first[code]] for code in codes] == strings
    assert (ids._packed is not None) == all(len(s) == 32 and set(s) <= set("0123456789abcdef") for s in strings)
    if data is not None and strings:
        rows = data.draw(st.lists(st.integers(0, len(strings) - 1), max_size=20))
        assert ids[np.array(rows, np.int64)].tolist() == [strings[row] for row in rows]
        start, stop, step = data.draw(st.tuples(*[st.integers(-50, 50)] * 2, st.sampled_from([1, 2, -1, -3])))
        assert ids[start:stop:step].tolist() == strings[start:stop:step]
        assert ids[-1] == strings[-1]


@LOOKED_UP
@given(st.lists(st.one_of(STRINGS.filter(lambda text: valid([text])), st.none()), max_size=40), st.integers(1, 9))
@example(["0" * 32, None, "0" * 32, "", None, ""], 2)
def test_numbers_do_not_depend_on_hashes_or_pieces(strings: list[str | None], piece: int) -> None:
    ids = Ids.of(pa.array(strings, pa.string()))
    codes, first = ids.numbered()
    assert ids.firsts().tolist() == first.tolist() == [strings.index(one) for one in dict.fromkeys(strings)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.ids._PIECE", piece)
        patch.setattr("pipeline.row_map._PIECE", piece)
        assert ids.numbered()[0].tolist() == codes.tolist()
        named = [string for string in strings if string is not None]
        rows = RowMap(Ids.of(named))
        assert rows.find(named).tolist() == [named.index(one) for one in named]
        assert rows.distinct() == (len(set(named)) == len(named))
        patch.setattr(Ids, "keys", lambda self: np.zeros(len(self), np.uint64))
        assert ids.numbered()[0].tolist() == codes.tolist()
        assert ids.firsts().tolist() == first.tolist()


@LOOKED_UP
@given(st.lists(st.lists(st.one_of(st.text("ab", max_size=2), HEXADECIMAL, st.none()), max_size=9), max_size=5))
def test_columns_of_pieces_are_those_of_the_whole(pieces: list[list[str | None]]) -> None:
    whole = [value for piece in pieces for value in piece]
    found = Coded.of_pieces(pa.chunked_array([piece], pa.string()) for piece in pieces)
    assert found.tolist() == whole
    assert found.codes.dtype == np.int8
    assert Coded.joined(Coded.of_list(piece) for piece in pieces).tolist() == whole


@LOOKED_UP
@given(SOME, SOME)
@example(["a" * 32, "b" * 32], ["A" * 32, "a" * 32, "a" * 31])
@example(["a" * 32, "x", "x"], ["a" * 32, "x", "y", ""])
def test_rows_are_those_of_a_dictionary(strings: list[str], others: list[str]) -> None:
    strings = valid(strings)
    expected = {string: row for row, string in reversed(list(enumerate(strings)))}
    asked = [*others, *strings[::-1]]
    found = RowMap(Ids.of(strings)).find(asked)
    assert found.dtype == np.int64
    assert found.tolist() == [expected.get(one, -1) for one in asked]
    assert RowMap(Ids.of(strings)).find(np.array(strings, dtype=object)).tolist() == [expected[s] for s in strings]
    growing = GrowingRowMap()
    for start in range(0, len(strings), 3):
        growing.add(Ids.of(strings[start : start + 3]))
    assert len(growing) == len(strings)
    assert growing.find(asked).tolist() == found.tolist()


def test_what_is_no_string_is_found_nowhere() -> None:
    rows = RowMap(Ids.of(["1", "x", "\u00e9"]))
    assert rows.find([1, None, b"x", "\ud800", "x", np.str_("1"), 1.0, "e\u0301"]).tolist() == [
        -1,
        -1,
        -1,
        -1,
        1,
        0,
        -1,
        -1,
    ]  # type: ignore[list-item]
    assert rows.find([]).tolist() == rows.find(np.array([], dtype=str)).tolist() == []
    assert RowMap(Ids.of([])).find(["x"]).tolist() == [-1]


def test_ids_that_share_a_hash_are_told_apart() -> None:
    """The two halves of a packed id are mixed into one number; these differ and give the same."""
    mix, size = 0x9E3779B97F4A7C15, 2**64
    same = [
        (number * mix % size).to_bytes(8, "little") + (size - number).to_bytes(8, "little") for number in range(1, 9)
    ]
    ids = Ids.of([one.hex() for one in same])
    assert len(np.unique(ids.keys())) == 1
    rows = RowMap(ids[np.arange(7)])
    assert rows.find(ids).tolist() == [*range(7), -1]


@LOOKED_UP
@given(
    st.lists(
        st.one_of(st.none(), st.sampled_from(["", "train", "caf\u00e9", "f" * 32]), st.text(max_size=3)), max_size=30
    )
)
def test_a_column_is_an_array_of_strings(values: list[str | None]) -> None:
    values = [value if value is None else "".join(valid([value])) for value in values]
    column, array = Coded.of_list(values), np.array(values, dtype=object)
    assert column.tolist() == values == list(column) == column.arrow().to_pylist()
    assert column.sorted().tolist() == values
    for value in ("train", "", "absent"):
        assert (column == value).tolist() == (array == value).tolist()
        assert (column != value).tolist() == (array != value).tolist()
    mask = np.arange(len(values)) % 2 == 0
    assert column[mask].tolist() == array[mask].tolist()
    assert column.distinct() == sorted({value for value in values if value is not None})
    if values:
        assert column[-1] == values[-1]
        assert column.sorted().values.tolist() == sorted(column.values)
        both = Coded(np.stack([column.codes, column.codes[::-1]], axis=1), column.values)
        assert both[:, 1].tolist() == values[::-1]
        assert (both == "train").any(axis=1).tolist() == ((array == "train") | (array[::-1] == "train")).tolist()


ROWS = 20_000


def hashed(kind: str) -> list[str]:
    return [hashlib.sha256(f"{kind}{row}".encode()).hexdigest()[:32] for row in range(ROWS)]


def few_objects(make: Callable[[], object]) -> None:
    """Check that what `make` gives consists of far fewer Python objects than there are rows."""
    make()  # imports, caches
    gc.collect()
    before = sys.getallocatedblocks()
    kept = make()
    gc.collect()
    grown = sys.getallocatedblocks() - before
    assert grown < ROWS / 20, f"{type(kept).__name__} of {ROWS} rows: {grown} objects"


def test_the_measure_sees_a_list_of_ids() -> None:
    with pytest.raises(AssertionError, match="list of 20000 rows"):
        few_objects(lambda: hashed("image"))


@pytest.mark.parametrize("name", ["hash", "name"])
def test_ids_and_maps_have_no_object_per_row(name: str) -> None:
    strings = pa.array(hashed("image") if name == "hash" else [f"caf\u00e9 {row}" for row in range(ROWS)])
    ids = Ids.of(strings)
    assert ids.nbytes < 40 * ROWS
    few_objects(lambda: Ids.of(strings))
    few_objects(lambda: RowMap(ids))
    assert RowMap(ids).nbytes == 12 * ROWS
    few_objects(lambda: Coded.of(strings))


def test_tables_have_no_object_per_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, texts, index = hashed("image"), hashed("text"), tmp_path / "index"
    splits = [("train", "validation", "test")[row % 3] for row in range(ROWS)]
    names = {"dataset": ["mine"] * ROWS, "image_id": images, "family": images, "split_0": splits}
    pairs = [
        {"image_id": i, "text_id": t, "language": "en", "role": "caption"} for i, t in zip(images, texts, strict=True)
    ]
    write_table(pa.table(names), Path("data/splits/samples.parquet"))
    joint = [{"dataset": "mine", **pair} for pair in pairs]
    write_table(pa.Table.from_pylist(joint, schema=JOINT_PAIRS), Path("data/splits/pairs.parquet"))
    write_table(pa.Table.from_pylist([{"image_id": one} for one in images], schema=IMAGES), index / "images.parquet")
    strings = [{"text_id": one, "text": f"text {one}", "language": "en"} for one in texts]
    write_table(pa.Table.from_pylist(strings, schema=TEXTS), index / "texts.parquet")
    write_table(pa.Table.from_pylist(pairs, schema=PAIRS), index / "pairs.parquet")
    write_rows([row_list(images, [None] * ROWS)], tmp_path / "rows.parquet")
    few_objects(lambda: SampleTable.read(("family",), 1))
    few_objects(lambda: read_caption_pairs(["mine"], 1))
    few_objects(lambda: image_plan(index, 512))
    few_objects(lambda: text_plan(index, (), 512))
    few_objects(lambda: read_rows(tmp_path / "rows.parquet"))
