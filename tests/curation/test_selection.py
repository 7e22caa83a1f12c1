"""Retrieval against a full sort, assignment against its definition, and no leak from held-out splits."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import AllImages, AnyCuration, ClassificationSet, PrototypeImages, RandomImages
from pipeline.curation import curate_images
from pipeline.curation import run as curation_run
from pipeline.curation.assignment import assign, best_total
from pipeline.curation.coverage import evenness
from pipeline.curation.pool import Pool, read_features
from pipeline.curation.prototypes import Concept, concepts_of, prototypes
from pipeline.curation.retrieval import Candidates, retrieve
from pipeline.datasets.hash_order import hash_order
from pipeline.errors import DataError, FingerprintMismatch
from tests.alignment.toy import write_store


def unit(generator: np.random.Generator, rows: int, width: int = 8) -> np.ndarray:
    values = generator.normal(size=(rows, width)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def pool_of(categories: list[str | None], dataset: str = "mine") -> Pool:
    ids = np.array([f"id{row}" for row in range(len(categories))], dtype=object)
    labels = {"category": np.array(categories, dtype=object), "concept": ids}
    return Pool(np.array([dataset] * len(ids), dtype=object), ids, labels)


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 60), k=st.integers(1, 70), block=st.integers(1, 70), seed=st.integers(0, 9))
def test_streamed_retrieval_equals_a_full_sort(rows: int, k: int, block: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    features, wanted = unit(generator, rows), unit(generator, 4)
    found = retrieve(features, wanted, k, block_rows=block)
    scores = wanted @ features.T
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, expected, axis=1), atol=1e-6)
    assert found.rows.shape == (4, min(k, rows))
    assert all(len(set(row)) == len(row) for row in found.rows.tolist())


def test_prototypes_are_unit_means_of_the_shots() -> None:
    pool, features = pool_of(["a", "a", "b", None]), unit(np.random.default_rng(0), 4)
    concepts = concepts_of(pool, [("mine", "category")])
    assert concepts == [Concept("mine", "category", "a"), Concept("mine", "category", "b")]
    found = prototypes(pool, features, concepts, shots=2, seed=0)
    mean = features[:2].mean(axis=0)
    np.testing.assert_allclose(found[0], mean / np.linalg.norm(mean), rtol=1e-5)
    np.testing.assert_allclose(found[1], features[2], rtol=1e-5)


def test_the_rarest_concept_takes_first() -> None:
    # Both want image 0. Concept 1 is rarer (its last candidate is farther), so it gets it.
    candidates = Candidates(np.array([[0, 1], [0, 2]]), np.array([[0.9, 0.8], [0.5, 0.1]], dtype=np.float32))
    chosen = assign(candidates, 2)
    assert list(zip(chosen.rows.tolist(), chosen.concept.tolist(), strict=True)) == [(0, 1), (1, 0)]
    assert best_total(candidates, np.array([1, 1])) == pytest.approx(0.8 + 0.5)


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(2, 40), total=st.integers(1, 60), seed=st.integers(0, 9))
def test_assignment_is_balanced_and_takes_each_image_once(rows: int, total: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    candidates = retrieve(unit(generator, rows), unit(generator, 3), rows)  # every image is everyone's candidate
    chosen = assign(candidates, total)
    assert len(chosen.rows) == min(rows, total) == len(set(chosen.rows.tolist()))
    counts = np.bincount(chosen.concept, minlength=3)
    assert counts.max() - counts.min() <= 1
    best = best_total(candidates, counts)
    assert best is not None
    assert best >= float(chosen.scores.sum()) - 1e-4


def test_a_shortfall_ends_and_is_none_for_the_best() -> None:
    candidates = Candidates(np.array([[0], [0]]), np.array([[0.5], [0.4]], dtype=np.float32))
    assert assign(candidates, 5).rows.tolist() == [0]
    assert best_total(candidates, np.array([1, 1])) is None


def test_evenness_by_hand() -> None:
    pool = pool_of(["a", "a", "b", "b", None])
    assert evenness(pool, np.array([0, 2])) == pytest.approx(1.0)
    assert evenness(pool, np.array([0, 1])) == pytest.approx(0.0)
    assert evenness(pool, np.array([0, 1, 2])) == pytest.approx(
        -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(2)
    )


def test_hash_order_moves_nothing_when_an_id_comes() -> None:
    ids = np.array(["a", "b", "c", "d"])
    before = ids[hash_order("3", ids)].tolist()
    more = np.array(["a", "x", "b", "c", "d"])
    assert [i for i in more[hash_order("3", more)].tolist() if i != "x"] == before
    assert any(ids[hash_order(str(seed), ids)].tolist() != before for seed in range(5))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 4
    table = pa.table(
        {
            "dataset": ["mine"] * 20,
            "image_id": [f"id{i}" for i in range(20)],
            "concept": [f"c{i}" for i in range(20)],
            "category": ["a" if i % 3 else "b" for i in range(20)],
            "split_0": splits,
            "split_1": splits[::-1],
        }
    )
    (tmp_path / "data/splits").mkdir(parents=True)
    pq.write_table(table, tmp_path / "data/splits/samples.parquet")
    vectors = unit(np.random.default_rng(0), 20)

    def features(_view: str, pool: Pool) -> tuple[np.ndarray, np.ndarray]:
        return vectors[[int(i[2:]) for i in pool.image_id]], np.arange(len(pool))

    monkeypatch.setattr(curation_run, "read_features", features)
    return tmp_path


SPECS: dict[str, AnyCuration] = {
    "all": AllImages(method="all", view="v", pool=("mine",)),
    "random": RandomImages(method="random", view="v", pool=("mine",), images=5),
    "prototypes": PrototypeImages(
        method="prototypes",
        view="v",
        pool=("mine",),
        images=6,
        concepts=(ClassificationSet(dataset="mine", label="category"),),
        shots=2,
    ),
}


@pytest.mark.parametrize("method", list(SPECS))
def test_only_train_images_are_selected_and_bytes_repeat(project: Path, method: str) -> None:
    curate_images(SPECS[method], repeats=2, seed=1, out=project / "one")
    curate_images(SPECS[method], repeats=2, seed=1, out=project / "two")
    rows = pq.read_table(project / "one/selected.parquet").to_pylist()
    train = {0: {f"id{i}" for i in range(12)}, 1: {f"id{i}" for i in range(8, 20)}}
    for repeat in (0, 1):
        ids = [row["image_id"] for row in rows if row["repeat"] == repeat]
        assert len(ids) == len(set(ids)) == (SPECS[method].images or 12)
        assert set(ids) <= train[repeat]
    for name in ("selected.parquet", "coverage.json", "coverage.csv"):
        assert (project / "one" / name).read_bytes() == (project / "two" / name).read_bytes()


def test_another_seed_draws_others(project: Path) -> None:
    for seed in (0, 1):
        curate_images(SPECS["random"], repeats=2, seed=seed, out=project / str(seed))
    assert (project / "0/selected.parquet").read_bytes() != (project / "1/selected.parquet").read_bytes()


def test_nothing_to_choose_from(project: Path) -> None:
    with pytest.raises(DataError, match="no train image of other"):
        curate_images(SPECS["all"].model_copy(update={"pool": ("other",)}), repeats=2, seed=0, out=project / "x")


def test_unit_features_of_several_data_sets_by_one_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float16)  # two kept layers
    pool = Pool(np.array(["b", "a", "b"], dtype=object), np.array(["b1", "a1", "b0"], dtype=object), {})
    write_store(Path("data/features/pairs/v/a"), ["a1"], {"cls": values[1:2]}, "digest")
    write_store(Path("data/features/pairs/v/b"), ["b0", "b1"], {"cls": values[[2, 0]]}, "digest")
    features, rows = read_features("v", pool)
    last = values[:, -1].astype(np.float32)
    np.testing.assert_allclose(features[:], last / np.linalg.norm(last, axis=1, keepdims=True), atol=1e-6)
    assert rows.tolist() == [0, 1, 2]
    write_store(Path("data/features/pairs/w/a"), ["a1"], {"cls": values[1:2]}, "digest")
    write_store(Path("data/features/pairs/w/b"), ["b0", "b1"], {"cls": values[[2, 0]]}, "another")
    with pytest.raises(FingerprintMismatch, match="different encoders or settings"):
        read_features("w", pool)
