"""`permafrost collect`: candidates of concepts in stores, by the command and against a full sort."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.commands.parser import main
from pipeline.curation.of_stores import choose_of_stores
from pipeline.errors import DataError
from tests.alignment.toy import write_store


@pytest.fixture
def stores(tmp_path: Path) -> tuple[list[Path], np.ndarray, list[str]]:
    """Two stores, one of pictures and one of texts with a bad row; their vectors and ids in the order of the stores."""
    values = np.random.default_rng(0).normal(size=(150, 8)).astype(np.float16)
    ids = [f"row{number}" for number in range(150)]
    write_store(tmp_path / "s/a", ids[:100], {"cls": values[:100]}, "digest")
    write_store(tmp_path / "s/b", ids[100:], {"pooled": values[100:]}, "digest", ("row120",))
    return [tmp_path / "s/b", tmp_path / "s/a"], values.astype(np.float64), ids


def test_the_best_of_each_concept_are_kept_up_to_the_quota(
    stores: tuple[list[Path], np.ndarray, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders, values, ids = stores
    prototypes = np.random.default_rng(1).normal(size=(3, 8))
    np.save(tmp_path / "classes.npy", prototypes.astype(np.float32))
    (tmp_path / "classes.txt").write_text("cat\ndog\nfox\n")
    asked = ["--prototypes", str(tmp_path / "classes.npy"), "--names", str(tmp_path / "classes.txt"), "--quota", "5"]
    assert (
        main(["collect", *map(str, folders), *asked, "--out", str(tmp_path / "out"), "--device", "cpu", "--json"]) == 0
    )
    answer = json.loads(capsys.readouterr().out)
    assert (answer["rows"], answer["stores"], answer["kept"], answer["full"]) == (149, 2, 15, 3)
    cosines = prototypes @ values.T / np.linalg.norm(values, axis=1) / np.linalg.norm(prototypes, axis=1)[:, None]
    cosines[:, 120] = -2
    rows = pq.read_table(tmp_path / "out/found.parquet").to_pylist()
    assert len({row["id"] for row in rows}) == len(rows) == answer["found"]
    for row in rows:
        concept, place = ["cat", "dog", "fox"].index(row["concept"]), ids.index(row["id"])
        assert row["score"] == pytest.approx(cosines[concept, place], abs=1e-5)
        assert row["rank"] == 1 + int((cosines[concept] > cosines[concept, place] + 1e-9).sum())
        assert row["store"].endswith("a" if place < 100 else "b")
        assert row["reason"] == ("candidate of its concept" if row["kept"] else "concept full")
    kept = [row["concept"] for row in rows if row["kept"]]
    assert {name: kept.count(name) for name in kept} == {"cat": 5, "dog": 5, "fox": 5}
    first = {row["concept"]: row["id"] for row in rows if row["kept"] and row["rank"] == 1}
    assert first
    for name, identifier in first.items():
        assert identifier == ids[int(cosines[["cat", "dog", "fox"].index(name)].argmax())]


def test_what_does_not_fit_is_said(stores: tuple[list[Path], np.ndarray, list[str]], tmp_path: Path) -> None:
    folders, _, _ = stores
    with pytest.raises(DataError, match="2 prototypes, 1 names"):
        choose_of_stores(folders, np.eye(8)[:2], ["one"], 3, tmp_path / "out")
    with pytest.raises(DataError, match="Prototypes have 5 numbers, rows of the stores 8"):
        choose_of_stores(folders, np.eye(5)[:1], ["one"], 3, tmp_path / "out")
    with pytest.raises(DataError, match="Prototype 1 has no direction"):
        choose_of_stores(folders, np.eye(8)[:2] * [[1.0], [0.0]], ["one", "two"], 3, tmp_path / "out")
    write_store(tmp_path / "s/c", ["x"], {"grid": np.ones((1, 8), np.float16)}, "digest")
    with pytest.raises(DataError, match="holds grid; candidates are taken of cls or pooled"):
        choose_of_stores([tmp_path / "s/c"], np.eye(8), list("abcdefgh"), 3, tmp_path / "out")
