"""The index over vectors: what it finds beside the exact scan, what it keeps, and what it refuses."""

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import DataError, ModelError
from pipeline.inference.vector_index import VectorIndex, build_index, index, plan_index
from pipeline.inference.vector_index.build import _recall, _without
from pipeline.inference.vector_index.files import index_folder, indexed_path, read_about
from pipeline.inference.vector_index.plan import Plan
from pipeline.inference.vectors import VectorRows
from pipeline.vector_files import read_vectors

ROWS, WIDTH = 3000, 24
pytest.importorskip("faiss")  # the extra `dev` has it


def clustered(count: int, seed: int, centres: int = 60) -> np.ndarray:
    middle = np.random.default_rng(0).normal(size=(centres, WIDTH))
    generator = np.random.default_rng(seed)
    drawn = middle[generator.integers(centres, size=count)] + 0.5 * generator.normal(size=(count, WIDTH))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = clustered(ROWS, 1), clustered(300, 2)
PLANS = [Plan("ivf-sq8", 48, WIDTH), Plan("ivf-pq", 48, 12)]


def share(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(found.tolist(), truth.tolist(), strict=True)]))


@pytest.fixture(scope="module", params=PLANS, ids=lambda plan: plan.kind)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Vectors in a file, an index of them that was saved, and the same index before."""
    folder = tmp_path_factory.mktemp(request.param.kind)
    np.save(folder / "v.npy", VECTORS)
    rows = VectorRows([read_vectors(folder / "v.npy")], [folder / "v.npy"])
    made = build_index(rows, request.param, QUERIES[:200], queries_are="mine")
    made.index.save(folder / "v.npy.index")
    return folder, rows, made


def test_recall_is_measured_as_it_is_on_other_queries(built: Any) -> None:
    _, rows, made = built
    about = made.index.about
    assert about.recall.kind == "mine"
    assert (about.recall.k, about.recall.queries) == (10, 100)
    truth = rows.nearest(QUERIES[100:200], 10).rows
    assert about.recall.value == pytest.approx(share(made.index.search(QUERIES[100:200], 10).rows, truth), abs=1e-4)
    steps = about.recall.by_probes
    assert list(map(int, steps)) == sorted(map(int, steps))
    assert int([*steps][-1]) == about.probes
    assert all(value < 0.95 for value in [*steps.values()][:-1])
    assert about.recall.value > 0.85
    assert share(made.index.search(QUERIES[200:], 10).rows, rows.nearest(QUERIES[200:], 10).rows) > 0.85


def test_scores_are_those_of_the_vectors_and_in_order(built: Any) -> None:
    _, rows, made = built
    found = made.index.search(QUERIES, 10)
    exact = rows.nearest(QUERIES, ROWS)
    for row, scores, all_rows, all_scores in zip(*found, *exact, strict=True):
        of = dict(zip(all_rows.tolist(), all_scores.tolist(), strict=True))
        assert [of[one] for one in row.tolist()] == scores.tolist()
        assert list(zip(-scores, row, strict=True)) == sorted(zip(-scores, row, strict=True))


def test_all_lists_with_rescoring_find_everything(built: Any) -> None:
    _, rows, made = built
    found = made.index.search(QUERIES, 10, probes=48)
    assert share(found.rows, rows.nearest(QUERIES, 10).rows) > 0.99


def test_a_saved_index_answers_the_same(built: Any) -> None:
    folder, rows, made = built
    opened = VectorIndex.open(folder / "v.npy.index", rows)
    assert opened.about.model_copy(update={"checksums": {}}) == made.index.about
    for kwargs in ({}, {"probes": 3}):
        again, before = opened.search(QUERIES, 7, **kwargs), made.index.search(QUERIES, 7, **kwargs)
        assert np.array_equal(again.rows, before.rows)
        assert np.array_equal(again.scores, before.scores)
    with pytest.raises(DataError, match="was opened from a folder"):
        opened.save(folder / "again")


def test_only_allowed_rows_are_found(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows, made = built
    generator = np.random.default_rng(0)
    allowed = generator.random(ROWS) < 0.3
    few = made.index.search(QUERIES, 10, allowed)
    truth = rows.nearest(QUERIES, 10, allowed)
    assert np.array_equal(few.rows, truth.rows), "so few that all are compared"
    monkeypatch.setattr(index, "FEW_ROWS", 0)
    many = made.index.search(QUERIES, 10, allowed)
    assert allowed[many.rows].all()
    assert share(many.rows, truth.rows) > 0.85
    assert made.index.search(QUERIES, 10, np.zeros(ROWS, dtype=bool)).rows.shape == (len(QUERIES), 0)


def test_lists_with_too_few_rows_are_made_up_for(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows, made = built
    monkeypatch.setattr(index, "FEW_ROWS", 0)
    found = made.index.search(QUERIES[:5], 500, probes=1)
    assert found.rows.shape == (5, 500)
    short = rows.nearest(QUERIES[:5], 500)
    assert share(found.rows, short.rows) > 0.2
    allowed = np.zeros(ROWS, dtype=bool)
    allowed[::100] = True
    assert np.array_equal(made.index.search(QUERIES[:5], 30, allowed).rows, rows.nearest(QUERIES[:5], 30, allowed).rows)


def test_rows_are_the_queries_where_there_are_no_others() -> None:
    made = build_index(VectorRows([VECTORS]), PLANS[0])
    recall = made.index.about.recall
    assert recall is not None
    assert (recall.kind, recall.queries) == ("rows of the collection", 150)
    assert 0.85 < recall.value <= 1
    assert np.array_equal(_without(np.array([[4, 2, 9], [1, 2, 3]]), np.array([2, 7])), [[4, 9], [1, 2]])
    assert _recall(np.array([[4, 9], [1, 2]]), np.array([[9, 5], [2, 1]])) == 0.75


def test_a_flat_index_is_the_exact_scan(tmp_path: Path) -> None:
    rows = VectorRows([VECTORS])
    made = build_index(rows, plan_index(ROWS, WIDTH))
    assert (made.bytes, made.index.about.kind) == (0, "flat")
    assert made.index.about.recall is not None
    assert made.index.about.recall.value == 1
    made.index.save(tmp_path / "index")
    found = VectorIndex.open(tmp_path / "index", rows).search(QUERIES, 5)
    assert np.array_equal(found.rows, rows.nearest(QUERIES, 5).rows)


def test_vectors_that_changed_are_refused(built: Any, tmp_path: Path) -> None:
    source, _, _ = built
    shutil.copytree(source, tmp_path / "copy")
    file, folder = tmp_path / "copy/v.npy", tmp_path / "copy/v.npy.index"

    def opened() -> VectorIndex:
        return VectorIndex.open(folder, VectorRows([read_vectors(file)], [file]))

    os.utime(file)
    opened()  # a copy has another time and the same numbers
    changed = VECTORS.copy()
    changed[77, 3] = -changed[77, 3]
    np.save(file, changed)
    with pytest.raises(DataError, match=r"other vectors than those beside it: some .* permafrost index \S+copy/v.npy"):
        opened()
    np.save(file, VECTORS[:-1])
    with pytest.raises(DataError, match="it is of 3000 x 24 float32, they are 2999 x 24 float32"):
        opened()
    np.save(file, VECTORS.astype(np.float16))
    with pytest.raises(DataError, match="they are 3000 x 24 float16"):
        opened()


@pytest.mark.parametrize("name", ["centroids", "books", "sizes", "positions", "codes"])
def test_a_flipped_bit_is_seen(name: str, built: Any, tmp_path: Path) -> None:
    source, rows, _ = built
    shutil.copytree(source / "v.npy.index", tmp_path / "index")
    content = bytearray((tmp_path / f"index/{name}.npy").read_bytes())
    content[-3] ^= 4
    (tmp_path / f"index/{name}.npy").write_bytes(content)
    with pytest.raises(DataError, match=f"{name}.npy is damaged.*checksum.*permafrost index"):
        VectorIndex.open(tmp_path / "index", rows)


def forged(folder: Path, name: str, array: np.ndarray) -> None:
    """Another array with the checksum that belongs to it, as somebody would write it who means harm."""
    from pipeline.inference.vector_index.files import _checksum

    np.save(folder / f"{name}.npy", array)
    about = json.loads((folder / "index.json").read_text())
    about["checksums"][name] = _checksum(array)
    (folder / "index.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("positions", lambda a: np.full_like(a, 1 << 40), "does not name each of 3000 rows once"),
        ("positions", lambda a: np.zeros_like(a), "does not name each of 3000 rows once"),
        ("positions", lambda a: -1 - a, "does not name each of 3000 rows once"),
        ("sizes", lambda a: np.full_like(a, 1 << 62), "do not hold 3000 vectors"),
        ("sizes", lambda a: np.concatenate([[-5, a[0] + a[1] + 5], a[2:]]), "do not hold 3000 vectors"),
        ("codes", lambda a: a[:, :-1].copy(), r"expected uint8 \(3000, \d+\)"),
        ("centroids", lambda a: a.astype(np.float64), "expected float32"),
        ("books", lambda a: np.full_like(a, np.nan), "not finite"),
    ],
)
def test_arrays_that_mean_harm_never_reach_faiss(
    name: str, change: Any, message: str, built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, rows, _ = built
    folder = tmp_path / "index"
    shutil.copytree(source / "v.npy.index", folder)
    forged(folder, name, change(np.load(folder / f"{name}.npy")))
    monkeypatch.setattr(index, "put_together", lambda *_: pytest.fail("FAISS was given it"))
    with pytest.raises(DataError, match=message):
        VectorIndex.open(folder, rows)


@pytest.mark.parametrize(
    "change",
    [{"lists": 0}, {"lists": 4000}, {"code": 7}, {"probes": 0}, {"rows": -1}, {"format": 2}, {"kind": "hnsw"},
     {"width": 1 << 40}, {"more": 1}],
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(change: dict[str, Any], built: Any, tmp_path: Path) -> None:
    source, _, _ = built
    shutil.copytree(source / "v.npy.index", tmp_path / "index")
    path = tmp_path / "index/index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match="index.json is damaged"):
        read_about(tmp_path / "index")


def test_an_index_is_replaced_whole_and_nothing_else_is(built: Any, tmp_path: Path) -> None:
    _, rows, made = built
    made.index.save(tmp_path / "index")
    made.index.save(tmp_path / "index")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index"]
    VectorIndex.open(tmp_path / "index", rows)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("x")
    with pytest.raises(DataError, match="is there and is no index"):
        made.index.save(tmp_path / "mine")
    with pytest.raises(DataError, match="No index at .*permafrost index"):
        VectorIndex.open(tmp_path / "absent/index", rows)


def test_without_faiss_the_message_says_what_to_install(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source, rows, _ = built
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ModelError, match="pip install faiss-cpu. Without it, search is exact"):
        VectorIndex.open(source / "v.npy.index", rows)
    with pytest.raises(ModelError, match="pip install faiss-cpu"):
        build_index(rows, PLANS[0])
    made = build_index(rows, plan_index(ROWS, WIDTH))
    assert made.index.search(QUERIES, 3).rows.shape == (300, 3)


def test_vectors_that_are_not_finite_are_named() -> None:
    spoilt = VECTORS.copy()
    spoilt[1234, 5] = np.nan
    with pytest.raises(DataError, match=r"(Vector 1234 is|Some vectors are) not finite"):
        build_index(VectorRows([spoilt]), PLANS[0])
    with pytest.raises(DataError, match="no vectors to index"):
        build_index(VectorRows([VECTORS[:0]]), Plan("flat", 0, 0))
    with pytest.raises(DataError, match="at least 2 queries, found 1"):
        build_index(VectorRows([VECTORS]), PLANS[0], QUERIES[:1])


def test_the_plan_follows_rows_and_memory() -> None:
    assert plan_index(40_000, 384, memory=1) == Plan("flat", 0, 0)
    assert plan_index(1_000_000, 384, memory=10**9) == Plan("ivf-sq8", 2048, 384)
    small = plan_index(1_000_000, 384, memory=250 * 10**6)
    assert small == Plan("ivf-pq", 2048, 192)
    smaller = plan_index(1_000_000, 384, memory=100 * 10**6)
    assert (smaller.kind, smaller.code) == ("ivf-pq", 64)
    assert smaller.bytes(1_000_000, 384) <= 100 * 10**6
    assert plan_index(1000, 384, kind="ivf-sq8", memory=10**9, lists=7) == Plan("ivf-sq8", 7, 384)
    with pytest.raises(DataError, match=r"takes at least 3\d MB, allowed are 10 MB"):
        plan_index(1_000_000, 384, memory=10**7)
    with pytest.raises(DataError, match="flat, ivf-sq8, ivf-pq, found 'hnsw'"):
        plan_index(10, 384, kind="hnsw")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="at least 256 rows, found 100"):
        plan_index(100, 384, kind="ivf-pq")
    with pytest.raises(DataError, match="1 to 100 lists, found 101"):
        plan_index(100, 384, kind="ivf-sq8", lists=101)


def test_the_memory_that_is_said_is_what_the_arrays_take(built: Any) -> None:
    folder, _, made = built
    files = (folder / "v.npy.index").glob("*.npy")
    arrays = sum(np.load(file).nbytes for file in files)
    assert arrays == pytest.approx(made.bytes, rel=0.01)


def test_an_index_lies_in_the_folder_or_beside_the_file() -> None:
    for path in (Path("a/vectors"), Path("a/v.npy")):
        assert indexed_path(index_folder(path)) == path


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_other_dtypes_and_several_files(dtype: str) -> None:
    from pipeline.inference.vectors import quantised

    stored = quantised(VECTORS) if dtype == "int8" else VECTORS.astype(dtype)
    rows = VectorRows([stored[:1000], stored[1000:]])
    made = build_index(rows, PLANS[0], QUERIES[:200])
    assert share(made.index.search(QUERIES, 10, probes=48).rows, rows.nearest(QUERIES, 10).rows) > 0.99


def test_files_of_faiss_are_neither_written_nor_read() -> None:
    called = re.compile(r"faiss\.\w*(read|write|deserialize|serialize)_index")
    assert called.search("faiss.read_index(path)")
    sources = (Path(__file__).parents[2] / "pipeline").rglob("*.py")
    assert [path for path in sources if called.search(path.read_text("utf-8").replace("`faiss.", ""))] == []
