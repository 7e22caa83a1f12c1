"""What hits stand for, and searching what is in no store."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import DataError
from pipeline.inference.collection import Collection, pictures_below
from pipeline.inference.found import found_items
from pipeline.inference.search import index_of
from tests.inference.conftest import Project, aligner


def test_hits_of_pictures_have_file_captions_and_the_picture_itself(project: Project) -> None:
    store = project.root / "data/features/pairs/grid/mine"
    hits = aligner(project).search(store, "a picture of a daisy", 4)
    items = found_items(index_of(store), hits)
    assert [item.id for item in items] == [hit.id for hit in hits]
    for item in items:
        assert item.path is not None
        assert item.path.parent == project.root / "pictures"
        assert item.captions == (f"a picture of a {item.path.stem}",)
        assert item.picture().size > (0, 0)
        assert item.as_json()["path"] == str(item.path)


def test_hits_of_texts_are_the_texts(project: Project) -> None:
    store = project.root / "data/features/pairs/words/mine"
    query = project.pictures[0]
    items = found_items(index_of(store), aligner(project).search(store, query, 3))
    assert all(item.path is None and item.captions[0].startswith("a picture of a ") for item in items)
    with pytest.raises(DataError, match="is a text"):
        items[0].picture()


def test_a_store_without_its_index_says_so(project: Project, tmp_path: Path) -> None:
    shutil.copytree(project.root / "data/features/pairs/grid/mine", tmp_path / "alone")
    with pytest.raises(DataError, match="has no index at .*dvc repro index"):
        index_of(tmp_path / "alone")


def test_a_collection_is_written_and_opened_as_it_was(project: Project, tmp_path: Path) -> None:
    model = aligner(project)
    shutil.copytree(project.root / "pictures", tmp_path / "raw")
    (tmp_path / "raw/broken.png").write_bytes(b"no picture")
    made = Collection.of_pictures(model, pictures_below(tmp_path / "raw"), batch_size=3)
    assert list(made.failed) == [str(tmp_path / "raw/broken.png")]
    assert len(made) == len(project.pictures)
    made.write(tmp_path / "out")
    opened = Collection.open(tmp_path / "out", model)
    assert np.array_equal(opened.vectors, made.vectors)
    assert list(opened.paths) == list(made.paths)
    assert list(opened.captions) == list(made.captions)
    for query in ("a picture of a bridge", project.pictures[3]):
        assert opened.search(model, query, 4) == made.search(model, query, 4)
    with pytest.raises(DataError, match="holds vectors already"):
        made.write(tmp_path / "out")


def test_texts_are_a_collection_as_well(project: Project, tmp_path: Path) -> None:
    model = aligner(project)
    Collection.of_texts(model, ["a picture of a bridge", "a picture of a daisy"]).write(tmp_path / "out")
    (best,) = Collection.open(tmp_path / "out", model).search(model, "a picture of a daisy", 1)
    assert (best.path, best.captions) == (None, ("a picture of a daisy",))


def test_nothing_to_search(project: Project, tmp_path: Path) -> None:
    model = aligner(project)
    with pytest.raises(DataError, match="holds neither pictures"):
        Collection.open(tmp_path, model)
    with pytest.raises(DataError, match="No folder at"):
        Collection.open(tmp_path / "absent", model)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="None of 1 pictures could be read. The first: "):
        Collection.open(tmp_path, model)
