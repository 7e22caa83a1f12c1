"""benchmarks/search.py at toy size: every system answers, and the exact ones find all."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import search


@pytest.mark.long
def test_every_system_is_measured_on_the_same_vectors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("faiss")
    arguments = ["--rows", "4000", "--width", "16", "--threads", "1", "--singles", "3", "--batches", "1"]
    wanted = ["numpy", "exact", "ivf-sq8", "faiss-ivf-sq8"]
    out = tmp_path / "search.json"
    out.write_text(json.dumps({"another size": {}}))
    entry = search.main([*arguments, "--systems", *wanted, "--lists", "16", "--out", str(out)])
    assert list(entry["systems"]) == wanted
    recall = {name: one["recall@10"] for name, one in entry["systems"].items()}
    assert recall["numpy"] == recall["exact"] == 1
    assert recall["ivf-sq8"] >= recall["faiss-ivf-sq8"] > 0.5
    kept = json.loads(out.read_text())
    assert list(kept) == ["another size", "4000 x 16 float32"]
    for one in entry["systems"].values():
        assert 0 < one["single_ms"]["p50"] <= one["single_ms"]["p95"]
    printed = capsys.readouterr().out.splitlines()
    assert len([line for line in printed if line.startswith("| ")]) == 1 + len(wanted)


def test_the_truth_is_a_full_sort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK", 300)
    search.make_vectors(tmp_path, 1000, 12, "float32", 20, seed=3)
    vectors, queries = np.load(tmp_path / "vectors.npy"), np.load(tmp_path / "queries.npy")
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    order = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    assert np.array_equal(np.sort(search.truth(tmp_path, 20, 10), axis=1), np.sort(order, axis=1))
    assert np.array_equal(np.sort(search.plain_scan(vectors)(queries), axis=1), np.sort(order, axis=1))
    assert np.array_equal(np.load(tmp_path / "half.npy"), vectors.astype(np.float16))


def test_plain_scans_of_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(search, "BLOCK", 300)
    search.make_vectors(tmp_path, 1000, 12, "int8", 20, seed=3)
    vectors, queries = np.load(tmp_path / "vectors.npy"), np.load(tmp_path / "queries.npy")
    right = np.sort(search.truth(tmp_path, 20, 10), axis=1)
    assert np.array_equal(np.sort(search.plain_scan(vectors)(queries), axis=1), right)
    found = search.faiss_flat(vectors)(queries)
    assert np.mean([np.isin(one, of).mean() for one, of in zip(right, found, strict=True)]) > 0.8
