"""Searching vectors on disk: sums of queries, filters by ids and labels, with an index and without."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError, FingerprintMismatch
from pipeline.inference.collection import Collection, pictures_below
from pipeline.inference.collection_files import rows_table
from pipeline.inference.filters import NoSuchRows, allowed_rows, matching_rows
from pipeline.inference.found import FoundItem
from pipeline.inference.store_vectors import write_store_vectors
from pipeline.inference.vector_index import build_index, plan_index
from pipeline.inference.vector_index.files import index_folder
from pipeline.inference.vectors import VectorRows
from tests.inference.conftest import WORDS, Project, aligner

QUERY = "a picture of a bridge"


def names(items: list[FoundItem]) -> list[str]:
    return [item.path.stem for item in items if item.path is not None]


@pytest.fixture
def written(project: Project, tmp_path: Path) -> Collection:
    write_store_vectors(aligner(project), project.store("grid").folder, tmp_path / "out")
    return Collection.read(tmp_path / "out")


def test_vectors_of_a_store_give_the_hits_of_the_store(project: Project, written: Collection) -> None:
    model = aligner(project)
    hits = model.search(project.store("grid"), QUERY, 10)
    items = written.search(model, QUERY, 10)
    assert [item.id for item in items] == [hit.id for hit in hits]
    assert [item.score for item in items] == pytest.approx([hit.score for hit in hits], abs=1e-6)
    for item in items:
        assert item.path is not None
        assert item.path == project.root / "pictures" / item.path.name
        assert item.captions == (f"a picture of a {item.path.stem}",)
        assert item.picture().size > (0, 0)


def test_vectors_of_a_store_of_texts(project: Project, tmp_path: Path) -> None:
    model = aligner(project)
    write_store_vectors(model, project.store("words").folder, tmp_path / "out", dtype="float16")
    made = Collection.read(tmp_path / "out")
    assert made.vectors.dtype == np.float16
    hits = model.search(project.store("words"), project.pictures[2], 10)
    items = made.search(model, project.pictures[2], 10)
    assert {item.id for item in items} == {hit.id for hit in hits}
    assert all(item.path is None and item.captions[0].startswith("a picture of a ") for item in items)
    assert [item.score for item in items] == pytest.approx([hit.score for hit in hits], abs=2e-3)


def test_a_store_of_another_view_is_not_written(project: Project, tmp_path: Path) -> None:
    with pytest.raises(FingerprintMismatch, match="its view 'grid' it differs"):
        write_store_vectors(aligner(project), project.store("mean").folder, tmp_path / "out")
    write_store_vectors(aligner(project), project.store("grid").folder, tmp_path / "out")
    with pytest.raises(DataError, match="holds vectors already"):
        write_store_vectors(aligner(project), project.store("grid").folder, tmp_path / "out")
    with pytest.raises(DataError, match="float32, float16, int8, found 'int4'"):
        write_store_vectors(aligner(project), project.store("grid").folder, tmp_path / "other", dtype="int4")


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_collection_is_searched_in_the_dtype_that_it_is_written_in(
    dtype: str, project: Project, tmp_path: Path
) -> None:
    model = aligner(project)
    made = Collection.of_pictures(model, pictures_below(project.root / "pictures"))
    made.write(tmp_path / "out", dtype=dtype)
    opened = Collection.open(tmp_path / "out", model)
    assert opened.vectors.dtype == dtype
    before = {item.path: item.score for item in made.search(model, QUERY, 10)}
    after = {item.path: item.score for item in opened.search(model, QUERY, 10)}
    assert before.keys() == after.keys()
    assert (
        max(abs(before[path] - after[path]) for path in before)
        < {"float32": 1e-6, "float16": 1e-3, "int8": 2e-2}[dtype]
    )


def test_queries_are_added_and_subtracted(project: Project, written: Collection) -> None:
    model = aligner(project)
    picture, text = project.pictures[3], "a picture of an anchor"
    items = written.search(model, QUERY, 10, add=[picture], subtract=[text])
    one = model.encode_text(QUERY)[0] + model.encode_image(picture)[0] - model.encode_text(text)[0]
    cosines = written.vectors @ (one / np.linalg.norm(one))
    assert [item.score for item in items] == pytest.approx(np.sort(cosines)[::-1].tolist(), abs=1e-6)
    hits = model.search(project.store("grid"), QUERY, 10, add=[picture], subtract=[text])
    assert [item.id for item in items] == [hit.id for hit in hits]
    with pytest.raises(DataError, match="leaves nothing of the query"):
        written.search(model, QUERY, subtract=[QUERY])
    with pytest.raises(DataError, match="Expected one query.*found list"):
        written.search(model, [QUERY])  # type: ignore[arg-type]


def test_many_queries_are_answered_at_once(project: Project, written: Collection) -> None:
    model = aligner(project)
    texts = [f"a picture of a {word}" for word in WORDS]
    answers = written.items(written.nearest(model.encode_text(texts), 3))
    assert len(answers) == len(texts)
    for text, items in zip(texts, answers, strict=True):
        alone = written.search(model, text, 3)
        assert [item.id for item in items] == [item.id for item in alone]
        assert [item.score for item in items] == pytest.approx([item.score for item in alone], abs=1e-5)


def test_rows_are_chosen_by_labels_of_a_store_and_of_its_vectors(project: Project, written: Collection) -> None:
    model, store = aligner(project), project.store("grid")
    of_all = written.search(model, QUERY, 10)
    wanted = {"concept": ["daisy", "engine", "guitar"], "language": "en"}
    expected = [item.id for item in of_all if item.path is not None and item.path.stem in wanted["concept"]]
    assert len(expected) == 3
    assert [hit.id for hit in model.search(store, QUERY, 10, where=wanted)] == expected
    assert [item.id for item in written.search(model, QUERY, 10, where=wanted)] == expected
    both = {"among": [expected[2], of_all[0].id, expected[0]], "where": {"concept": ("daisy", "engine", "guitar")}}
    chosen = [one for one in expected if one in both["among"]]
    assert [hit.id for hit in model.search(store, QUERY, 10, **both)] == chosen  # type: ignore[arg-type]
    assert [item.id for item in written.search(model, QUERY, 10, **both)] == chosen  # type: ignore[arg-type]
    texts = model.search(project.store("words"), QUERY, 10, where={"language": "en", "role": "caption"})
    assert len(texts) == 10


def test_filters_that_choose_nothing_say_what_there_is(project: Project, written: Collection) -> None:
    model, store = aligner(project), project.store("grid")
    for search in (lambda **w: model.search(store, QUERY, **w), lambda **w: written.search(model, QUERY, **w)):
        with pytest.raises(NoSuchRows, match="No row has language 'xx'; there are: 'en'"):
            search(where={"language": "xx"})
        with pytest.raises(DataError, match="cannot be chosen by 'colour'.* has? .*language|have .*language"):
            search(where={"colour": "red"})
        with pytest.raises(DataError, match="1 ids of among are not"):
            search(among=["nobody"])
        with pytest.raises(DataError, match="k must be at least 1"):
            search(k=0)


def test_columns_of_every_kind_choose_rows() -> None:
    def chosen(column: pa.Array, wanted: object) -> list[int]:
        return np.flatnonzero(matching_rows(column, wanted, "it")).tolist()

    assert chosen(pa.array(["a", None, "b", "a"]), "a") == [0, 3]
    assert chosen(pa.array(["a", None, "b", "a"]).dictionary_encode(), ["a", "b"]) == [0, 2, 3]
    assert chosen(pa.array([1, 2, None, 3]), [3, "1"]) == [0, 3]
    assert chosen(pa.array([True, False, None]), True) == [0]
    assert chosen(pa.array([0.5, 2.0]), 0.5) == [0]
    assert chosen(pa.array([["x", "y"], None, [], ["y"]]), "y") == [0, 3]
    assert chosen(pa.chunked_array([["a"], ["b", "a"]]), "a") == [0, 2]
    with pytest.raises(NoSuchRows, match="No row has it 'z'; there are: 'a', 'b'"):
        chosen(pa.array(["a", "a", "b"]), ["a", "z"])
    with pytest.raises(NoSuchRows, match="and 12 more"):
        chosen(pa.array([str(i) for i in range(20)]), "z")
    with pytest.raises(DataError, match="a column of struct"):
        chosen(pa.array([{"a": 1}]), "1")
    assert allowed_rows(np.array(["r1", "r2", "r3"]), iter(["r3", "r1", "r3"])).tolist() == [True, False, True]


def test_metadata_of_clip_retrieval_in_several_files(project: Project, tmp_path: Path) -> None:
    """Further columns, another type in one of the files, and one file without the column."""
    model = aligner(project)
    vectors = model.encode_text([f"a picture of a {word}" for word in WORDS])
    (tmp_path / "text_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    for number, part in enumerate(np.split(vectors, [4, 7])):
        np.save(tmp_path / f"text_emb/text_emb_{number}.npy", part)
        columns = {"caption": [f"{number}.{row}" for row in range(len(part))], "size": [number] * len(part)}
        if number == 1:
            del columns["caption"]
        pq.write_table(pa.table(columns), tmp_path / f"metadata/metadata_{number}.parquet")
    made = Collection.open(tmp_path, model)
    assert list(made.captions) == [*[(f"0.{i}",) for i in range(4)], *[()] * 3, *[(f"2.{i}",) for i in range(3)]]
    items = made.search(model, f"a picture of a {WORDS[5]}", 2, where={"size": [1, 2]})
    assert (items[0].id, items[0].captions) == ("5", ("5",))
    assert int(items[1].id) >= 4
    with pytest.raises(DataError, match="'colour': .*metadata_0.parquet has caption, size"):
        made.search(model, QUERY, where={"colour": "red"})


def test_a_collection_in_memory_has_filters_but_no_index() -> None:
    made = Collection(VectorRows([np.eye(3, dtype=np.float32)]), rows_table(["a", "b", "c"], [["x"], [], ["y"]]))
    found = made.nearest(np.eye(3, dtype=np.float32)[:1], 3, where={"captions": ["y", "x"]})
    assert found.rows.tolist() == [[0, 2]]
    with pytest.raises(DataError, match="were not opened from a folder"):
        made.index()
    with pytest.raises(DataError, match="have image_path, captions"):
        made.nearest(np.eye(3, dtype=np.float32), where={"colour": "red"})


def test_an_index_of_a_collection_answers_as_the_scan(project: Project, written: Collection) -> None:
    pytest.importorskip("faiss")
    model = aligner(project)
    assert written.home is not None
    with pytest.raises(DataError, match="No index at .*permafrost index"):
        written.index()
    plan = plan_index(len(written), written.rows.width, kind="ivf-sq8", lists=2)
    build_index(written.rows, plan, model.encode_text(list(WORDS))).index.save(index_folder(written.home))
    opened = written.index()
    for extra in ({}, {"where": {"concept": ["daisy", "engine"]}}, {"subtract": ["an engine"]}):
        expected = written.search(model, QUERY, 4, **extra)  # type: ignore[arg-type]
        assert written.search(model, QUERY, 4, index=opened, probes=2, **extra) == expected  # type: ignore[arg-type]
    with pytest.raises(DataError, match="probes must be at least 1"):
        written.search(model, QUERY, index=opened, probes=0)
