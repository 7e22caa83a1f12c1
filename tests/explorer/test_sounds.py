"""The explorer takes a sound where an aligner hears."""

import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pipeline import Aligner
from pipeline.explorer.app import create_app
from pipeline.explorer.project import Project as Explored
from tests.inference.conftest import Project, project  # noqa: F401  (a fixture)
from tests.inference.hearing import add_sounds, sound_paths


@pytest.fixture(scope="module")
def hearing(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:  # noqa: F811
    root = tmp_path_factory.mktemp("explored") / "project"
    shutil.copytree(project.root, root)
    with_sounds = Project(root)
    add_sounds(with_sounds, tmp_path_factory.mktemp("work"))
    return with_sounds


def test_a_sound_finds_pictures_and_captions(hearing: Project) -> None:
    client = TestClient(create_app(Explored(hearing.root)), base_url="http://127.0.0.1:8421")
    found = {one["name"]: one["hears"] for one in client.get("/api/project").json()["aligners"]}
    assert found == {
        "grid": False,
        "patch": False,
        "mean": False,
        "further": True,
        "sees-and-hears": True,
        "hears-frames": True,
    }
    path = sound_paths(hearing.root)[2]
    asked = {"aligner": "further", "classes": "bell, horn"}
    answer = client.post("/api/sound", params=asked, content=path.read_bytes()).json()
    model = Aligner.from_pretrained(hearing.model("further"), device="cpu")
    expected = model.search(hearing.root / "data/features/pairs/grid/mine", Path(path), k=8)
    assert [hit["id"] for hit in answer["hits"]] == [hit.id for hit in expected]
    assert len(answer["captions"]) == 8
    assert {one["name"] for one in answer["classes"]} == {"bell", "horn"}
    without = client.post("/api/sound", params={"aligner": "sees-and-hears"}, content=path.read_bytes()).json()
    assert without["captions"] == []
    assert len(without["hits"]) == 8


@pytest.mark.parametrize(
    ("aligner", "content", "message"),
    [
        ("grid", b"OggS", "it has no encoder of sounds"), ("further", b"no sound", "cannot be encoded"),
        ("further", b"", "empty upload"),
    ],
)  # fmt: skip
def test_what_is_no_sound_is_refused(hearing: Project, aligner: str, content: bytes, message: str) -> None:
    client = TestClient(create_app(Explored(hearing.root)), base_url="http://127.0.0.1:8421")
    answer = client.post("/api/sound", params={"aligner": aligner}, content=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
