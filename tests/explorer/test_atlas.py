"""The Parquet file for embedding-atlas, and the map by PaCMAP."""

import importlib.util
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline.commands import main
from pipeline.errors import ConfigError, DataError
from pipeline.explorer.app import create_app
from pipeline.explorer.atlas import nearest, write_atlas
from pipeline.explorer.flat_map import on_plane, principal_plane
from pipeline.explorer.project import Project
from tests.inference.conftest import WORDS

PACMAP = pytest.mark.skipif(importlib.util.find_spec("pacmap") is None, reason="pacmap is not installed")


@pytest.fixture(scope="module")
def rows(root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("atlas") / "atlas.parquet"
    done = write_atlas(root / "data/models/grid", out, neighbours=4, side=24)
    assert (done.path, done.pairs, done.unreadable) == (out, 10, 0)
    return pq.read_table(out).to_pylist()


def test_rows_are_pictures_and_their_captions(rows: list[dict[str, Any]], explored: Project) -> None:
    assert [row["kind"] for row in rows] == ["picture"] * 10 + ["text"] * 10
    collection = explored["grid"].collection("mine")
    images, texts, of_images, of_texts = collection.pairs(100)
    assert [row["id"] for row in rows] == [*images, *texts]
    assert {row["text"] for row in rows[:10]} == {f"a picture of a {word}" for word in WORDS}
    assert [row["text"] for row in rows[:10]] == [row["text"] for row in rows[10:]]
    assert [row["family"] for row in rows[:10]] == list(WORDS)
    assert {row["split"] for row in rows} == {"test", "train"}
    np.testing.assert_allclose([row["cosine"] for row in rows[:10]], (of_images * of_texts).sum(1), atol=1e-6)
    flat = principal_plane(np.concatenate([of_images, of_texts]))
    np.testing.assert_allclose([[row["x"], row["y"]] for row in rows], flat, atol=1e-6)
    assert {row["rank"] for row in rows} == {1.0}


def test_pictures_are_small_jpegs_and_texts_have_none(rows: list[dict[str, Any]], explored: Project) -> None:
    collection = explored["grid"].collection("mine")
    for row in rows[:10]:
        picture = Image.open(io.BytesIO(row["image"]["bytes"]))
        whole = collection.pictures.load(row["id"])
        whole.thumbnail((24, 24))
        assert (picture.format, picture.size, row["image"]["path"]) == ("JPEG", whole.size, None)
        assert np.abs(np.asarray(picture, float) - np.asarray(whole, float)).mean() < 20
    assert all(row["image"] is None for row in rows[10:])


def test_neighbours_are_the_nearest_rows_of_both_kinds(rows: list[dict[str, Any]], explored: Project) -> None:
    _, _, of_images, of_texts = explored["grid"].collection("mine").pairs(100)
    vectors = np.concatenate([of_images, of_texts]).astype(np.float64)
    cosines = vectors @ vectors.T
    for place, row in enumerate(rows):
        ids, distances = row["neighbors"]["ids"], row["neighbors"]["distances"]
        assert ids[0] == place
        assert distances[0] == 0
        others = np.sort(np.delete(cosines[place], place))[::-1][:3]
        np.testing.assert_allclose(1 - np.array(distances[1:]), others, atol=1e-5)
        np.testing.assert_allclose(cosines[place][ids[1:]], others, atol=1e-5)


def test_equal_rows_are_their_own_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.explorer.atlas._BLOCK", 3)
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 1]]
    assert [found["ids"].tolist() for found in nearest(vectors, 3)] == [
        [0, 1, 2], [1, 0, 2], [2, 3, 4], [3, 2, 4], [4, 2, 3],
    ]  # fmt: skip
    assert all(len(found["ids"]) == 5 for found in nearest(vectors, 99))


def test_the_command_writes_it_and_says_how_to_open_it(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "atlas.parquet"
    arguments = ["export", "atlas", str(root / "data/models/grid"), str(out), "--side", "0", "--neighbors", "0"]
    assert main([*arguments, "--most", "4", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["command"] == f"embedding-atlas {out} --text text --x x --y y --pagerank rank"
    assert told["pairs"] == 4
    table = pq.read_table(out)
    assert table.num_rows == 8
    assert table.column("image").null_count == table.column("neighbors").null_count == 8
    assert main(arguments) == 1
    assert "is there already" in capsys.readouterr().err
    assert main([*arguments[:3], str(tmp_path / "x.parquet"), "--dataset", "other"]) == 1
    assert "has no data set 'other'; it has mine" in capsys.readouterr().err
    assert main([*arguments, "--most", "-1"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_too_few_pairs_make_no_map(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mine has 2 pictures with an English caption"):
        write_atlas(root / "data/models/grid", tmp_path / "atlas.parquet", most=2)


def test_pacmap_is_asked_for_before_anything_is_served(
    explored: Project, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pacmap", None)
    with pytest.raises(ConfigError, match="pip install pacmap"):
        create_app(explored, "pacmap")
    assert (
        main(["export", "atlas", str(root / "data/models/grid"), str(tmp_path / "a.parquet"), "--map", "pacmap"]) == 1
    )
    assert "pip install pacmap" in capsys.readouterr().err
    assert main(["explore", "--project", str(root), "--map", "pacmap"]) == 1
    assert "pip install pacmap" in capsys.readouterr().err
    assert TestClient(create_app(explored), base_url="http://127.0.0.1").get("/api/map").json()["plane"] == "pca"


@PACMAP
def test_pacmap_keeps_clusters_apart_and_gives_the_same_map_again(caplog: pytest.LogCaptureFixture) -> None:
    draws = np.random.default_rng(0)
    centres = draws.normal(size=(5, 32))
    kind = np.repeat(np.arange(5), 30)
    vectors = (centres[kind] + 0.05 * draws.normal(size=(150, 32))).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    flat = on_plane(vectors, "pacmap")
    assert caplog.records == []
    assert np.abs(flat).max() == pytest.approx(1)
    np.testing.assert_allclose(flat.mean(0), 0, atol=1e-6)
    np.testing.assert_array_equal(flat, on_plane(vectors, "pacmap"))
    far = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    np.fill_diagonal(far, np.inf)
    nearest_kinds = kind[far.argsort(1)[:, :5]]
    assert (nearest_kinds == kind[:, None]).mean() > 0.98


@PACMAP
def test_the_map_of_the_page_by_pacmap(explored: Project) -> None:
    client = TestClient(create_app(explored, "pacmap"), base_url="http://127.0.0.1")
    asked = {"aligner": "grid", "dataset": "mine"}
    found = client.get("/api/map", params=asked).json()
    assert found["plane"] == "pacmap"
    assert len(found["points"]) == 10
    assert client.get("/api/map", params=asked).json() == found
    plain = TestClient(create_app(explored), base_url="http://127.0.0.1").get("/api/map", params=asked).json()
    assert [point["id"] for point in plain["points"]] == [point["id"] for point in found["points"]]
    assert [point["image"] for point in plain["points"]] != [point["image"] for point in found["points"]]
