"""What the explorer answers, and what it refuses."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pipeline import Aligner
from pipeline.errors import ModelError
from pipeline.explorer.app import UPLOAD_BYTES, create_app
from pipeline.explorer.collection import Collection
from pipeline.explorer.flat_map import principal_plane
from pipeline.explorer.overlay import colour, hex_colour, overlay
from pipeline.explorer.project import Project
from tests.inference.conftest import WORDS


@pytest.fixture(scope="module")
def client(explored: Project) -> TestClient:
    return TestClient(create_app(explored), base_url="http://127.0.0.1:8421")


@pytest.fixture(scope="module")
def aligner(root: Path) -> Aligner:
    return Aligner.from_pretrained(root / "data/models/grid", device="cpu")


def png(size: tuple[int, int] = (50, 40)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 30, 60)).save(out, "PNG")
    return out.getvalue()


def test_it_finds_the_aligners_and_their_data(client: TestClient) -> None:
    found = client.get("/api/project").json()["aligners"]
    assert {one["name"] for one in found} == {"grid", "patch", "mean"}
    assert all(one["datasets"] == ["mine"] for one in found)


def test_a_search_for_words_is_that_of_the_aligner(client: TestClient, aligner: Aligner, root: Path) -> None:
    found = client.get("/api/search", params={"aligner": "grid", "plus": "a red anchor", "k": 4}).json()["hits"]
    expected = aligner.search(root / "data/features/pairs/grid/mine", "a red anchor", k=4)
    assert [hit["id"] for hit in found] == [hit.id for hit in expected]
    assert [hit["score"] for hit in found] == pytest.approx([hit.score for hit in expected], abs=1e-4)
    assert all(hit["captions"][0].startswith("a picture of a ") for hit in found)


def test_words_are_added_and_subtracted_and_a_picture_joins_in(
    client: TestClient, aligner: Aligner, root: Path
) -> None:
    like = aligner.search(root / "data/features/pairs/grid/mine", "x", k=1)[0].id
    asked = {"aligner": "grid", "plus": ["a bridge", "a daisy"], "minus": "a guitar", "like": like, "k": 10}
    found = client.get("/api/search", params=asked).json()["hits"]
    picture = next(
        path for path in sorted((root / "pictures").glob("*.png")) if path.stem in found_caption(found, like)
    )
    vector = (
        aligner.encode_text(["a bridge", "a daisy"]).sum(0)
        - aligner.encode_text("a guitar")[0]
        + aligner.encode_image(picture)[0]
    )
    vector /= np.linalg.norm(vector)
    expected = aligner.encode_image(sorted((root / "pictures").glob("*.png"))) @ vector
    assert [hit["score"] for hit in found] == pytest.approx(sorted(expected, reverse=True), abs=2e-3)


def found_caption(hits: list[dict[str, Any]], identifier: str) -> str:
    (caption,) = (hit["captions"][0] for hit in hits if hit["id"] == identifier)
    return str(caption)


def test_what_cancels_out_is_refused(client: TestClient) -> None:
    answer = client.get("/api/search", params={"aligner": "grid", "plus": "a dog", "minus": "a dog"})
    assert answer.status_code == 400
    assert "cancel each other out" in answer.json()["error"]


def test_a_picture_gets_captions_classes_and_regions(client: TestClient) -> None:
    where = {"aligner": "patch", "dataset": "mine", "classes": "dog, sky, dog"}
    found = client.post("/api/picture", params=where, content=png()).json()
    assert [one["name"] for one in found["classes"]] in (["dog", "sky"], ["sky", "dog"])
    assert sum(one["probability"] for one in found["classes"]) == pytest.approx(1)
    assert len(found["captions"]) == 8
    assert {one["text"] for one in found["captions"]} <= {f"a picture of a {word}" for word in WORDS}
    answer = client.post("/api/segment", params=where, content=png((60, 40)))
    assert Image.open(io.BytesIO(answer.content)).size == (60, 40)
    legend = json.loads(answer.headers["x-legend"])
    assert [one["name"] for one in legend] == ["dog", "sky"]
    assert sum(one["share"] for one in legend) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("path", "parameters", "content", "status", "message"),
    [
        ("/api/picture", {}, b"", 400, "empty upload"),
        ("/api/picture", {}, b"GIF89a" + bytes(9), 400, ""),
        ("/api/picture", {}, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 400, "not an image"),
        ("/api/picture", {}, bytes(UPLOAD_BYTES + 1), 413, "larger than 10 MB"),
        ("/api/segment", {"classes": "dog"}, b"x", 400, "at least two classes"),
        ("/api/segment", {"classes": "dog,sky", "dense_head": "../x"}, b"x", 400, "no dense head"),
        ("/api/segment", {"classes": ",".join(map(str, range(201)))}, b"x", 400, "at most 200 classes"),
        ("/api/search", {"plus": "x", "k": "1e3"}, None, 400, "from 1 to 100"),
        ("/api/search", {"plus": "x", "aligner": "../../etc"}, None, 400, "There is no aligner"),
        ("/api/search", {"plus": "x", "dataset": "other"}, None, 400, "has no data set"),
        ("/api/search", {"plus": " "}, None, 400, "found neither"),
        ("/api/search", {"like": "nobody"}, None, 400, "no picture 'nobody'"),
        ("/api/search", {"plus": "x" * 2001}, None, 400, "2000 letters"),
        ("/api/image/grid/mine/nobody", {}, None, 400, "no picture"),
        ("/api/image/grid/mine/nobody", {"size": "100000"}, None, 400, "from 1 to 512"),
    ],
)
def test_what_is_refused(
    client: TestClient, path: str, parameters: dict[str, str], content: bytes | None, status: int, message: str
) -> None:
    answer = (
        client.get(path, params=parameters)
        if content is None
        else client.post(path, params=parameters, content=content)
    )
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.1.5"])
def test_only_this_machine_under_its_own_name_is_answered(explored: Project, host: str) -> None:
    assert TestClient(create_app(explored), base_url=f"http://{host}").get("/api/project").status_code == 400


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_of_other_pages_are_not_answered(client: TestClient, site: str) -> None:
    answer = client.post("/api/picture", content=png(), headers={"sec-fetch-site": site})
    assert answer.status_code == 403
    assert client.get("/", headers={"sec-fetch-site": "none"}).status_code == 200


def test_every_answer_forbids_foreign_content(client: TestClient) -> None:
    for path in ("/", "/app.js", "/api/project", "/api/search", "/nowhere"):
        policy = client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "http" not in policy.replace("https", "http").replace("form-action", "")


def test_the_map_has_every_pair_with_its_family_split_and_curation(client: TestClient) -> None:
    found = client.get("/api/map", params={"aligner": "grid", "dataset": "mine"}).json()
    assert found["curations"] == ["half"]
    assert [point["family"] for point in found["points"]] == list(WORDS)
    assert [point["kept"] for point in found["points"]] == [["half"]] * 5 + [[]] * 5
    assert found["points"][0]["split"] == "test"
    assert all(abs(value) <= 1 for point in found["points"] for value in (*point["image"], *point["text"]))


def test_a_large_collection_is_sampled_evenly_and_never_kept(
    explored: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.explorer.collection.KEPT_BYTES", 0)
    places = explored["grid"].datasets["mine"]
    collection = Collection("mine", places.images, places.texts, places.index, explored["grid"].heads)
    kept = explored["grid"].collection("mine")
    vector = np.eye(12, dtype=np.float32)[0]
    assert [one.id for one in collection.nearest(vector, 5)] == [one.id for one in kept.nearest(vector, 5)]
    images, texts, of_images, _ = collection.pairs(4)
    assert (len(images), len(texts), of_images.shape) == (4, 4, (4, 12))


def test_the_plane_is_that_of_the_principal_components() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(200, 8)) * np.array([5, 3, 1, 1, 1, 1, 1, 1])
    centred = vectors - vectors.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    expected = np.abs(centred @ axes[:2].T)
    found = np.abs(principal_plane(vectors))
    np.testing.assert_allclose(found, expected / expected.max(), atol=1e-9)
    np.testing.assert_array_equal(principal_plane(vectors), principal_plane(vectors))


def test_a_label_map_colours_its_pixels() -> None:
    labels = np.zeros((4, 6), dtype=np.int64)
    labels[:, 3:] = 2
    mixed = np.asarray(overlay(Image.new("RGB", (6, 4), "black"), labels))
    np.testing.assert_allclose(mixed[0, 0], 0.55 * np.array(colour(0)), atol=1)
    np.testing.assert_allclose(mixed[0, 5], 0.55 * np.array(colour(2)), atol=1)
    assert len({hex_colour(number) for number in range(60)}) == 60


def test_a_folder_without_aligners_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="make repro"):
        Project(tmp_path)
