"""What is given in place of texts, pictures, names, ids and paths: taken, or refused by name before anything runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image

from pipeline import Aligner
from pipeline.errors import DataError, ModelError, PermafrostError, StoreError
from pipeline.features import FeatureStore
from pipeline.inference.collection import Collection
from pipeline.user_path import user_path
from tests.inference.conftest import Project, aligner

PICTURE = Image.new("RGB", (60, 40), "red")
NAMES = ["kite", "horse"]
TEXTS = ["a guitar", "an anchor"]
ORDERED: dict[str, Callable[[list[str]], Any]] = {
    "tuple": tuple,
    "generator": lambda given: (one for one in given),
    "keys of a dict": lambda given: dict.fromkeys(given).keys(),
    "array of str": np.array,
    "array of objects": lambda given: np.array(given, dtype=object),
    "column of pandas": pd.Series,
    "column of pandas with an index of its own": lambda given: pd.Series(given, index=range(7, 7 + len(given))),
}
UNORDERED: dict[str, tuple[Any, str]] = {
    "set": (set(TEXTS), "found a set, which has no order"),
    "frozenset": (frozenset(TEXTS), "found a frozenset, which has no order"),
    "table": (pd.DataFrame({"text": TEXTS}), "found a DataFrame: pass one of its columns"),
    "table of Arrow": (pa.table({"text": TEXTS}), "found a Table: pass one of its columns"),
}


@pytest.fixture(scope="module")
def model(project: Project) -> Aligner:
    return aligner(project)


@pytest.mark.parametrize("kind", ORDERED)
def test_several_texts_and_names_are_taken_in_any_ordered_form(model: Aligner, kind: str) -> None:
    made = ORDERED[kind]
    np.testing.assert_array_equal(model.encode_text(made(TEXTS)), model.encode_text(TEXTS))
    np.testing.assert_array_equal(model.encode(made(TEXTS), batch_size=64), model.encode_text(TEXTS))
    assert model.classify(PICTURE, made(NAMES)) == model.classify(PICTURE, NAMES)
    np.testing.assert_array_equal(model.segment(PICTURE, made(NAMES)), model.segment(PICTURE, NAMES))


def test_paths_of_pictures_are_taken_from_an_array(model: Aligner, project: Project) -> None:
    paths = project.pictures[:2]
    expected = model.encode_image(paths)
    np.testing.assert_array_equal(model.encode_image(np.array([str(path) for path in paths])), expected)
    np.testing.assert_array_equal(model.encode_image(np.array(paths, dtype=object)), expected)


@pytest.mark.parametrize("kind", UNORDERED)
def test_what_has_no_order_is_refused(model: Aligner, kind: str) -> None:
    given, message = UNORDERED[kind]
    calls: list[Callable[[], Any]] = [
        lambda: model.encode_text(given),
        lambda: model.encode(given),
        lambda: model.encode_image(given),
        lambda: model.classify(PICTURE, given),
        lambda: model.segment(PICTURE, given),
    ]
    for call in calls:
        with pytest.raises(DataError, match=message):
            call()


TENSORS: dict[str, tuple[torch.Tensor, str]] = {
    "meta": (torch.zeros(3, 42, 42, device="meta"), "on the device meta"),
    "sparse": (torch.zeros(3, 42, 42).to_sparse(), r"layout torch.sparse_coo: pass .to_dense\(\)"),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_a_tensor_without_plain_numbers_is_refused(model: Aligner, kind: str) -> None:
    one, message = TENSORS[kind]
    batch = torch.zeros(1, 3, 42, 42, device="meta") if kind == "meta" else one.unsqueeze(0)
    calls: list[Callable[[], Any]] = [
        lambda: model.encode_image(one),
        lambda: model.encode_image([PICTURE, one]),
        lambda: model.encode_image(batch),
        lambda: model.encode(one),
        lambda: model.encode(batch),
        lambda: model.preprocess(one),
        lambda: model.encode_pixels(batch),
        lambda: model.segment(one, NAMES),
        lambda: model.similarity(one[0], one[0]),
    ]
    for call in calls:
        with pytest.raises(DataError, match=message):
            call()


REFUSED: dict[str, tuple[Callable[[Aligner, Any], Any], list[tuple[Any, str]]]] = {
    "names": (
        lambda m, v: m.classify(PICTURE, v),
        [
            ({"kite": 1}, "found a dict: pass a list of its keys"),
            ("kite", "found the string 'kite'"),
            ((one for one in ()), "empty sequence"),
            (["a", None], "Class name 1: expected a string, found NoneType"),
            (np.array([1, 2]), "found ndarray"),
            (3, "found int"),
        ],
    ),
    "text": (
        lambda m, v: m.encode_text(v),
        [({"text": "a"}, "found a dict"), (np.array([["a"]]), "found ndarray"), (np.array([b"a"]), "found ndarray")],
    ),
    "among": (
        lambda m, v: m.search(m.words, "a", among=v),
        [(3, r"among must be a list of ids, found 3 \(int\)"), (b"ab", "found b'ab'"), (Path("a"), "list of ids")],
    ),
    "where": (
        lambda m, v: m.search(m.words, "a", where=v),
        [("x", r"where must be a dict .* found 'x' \(str\)"), ("", "found ''"), ([("language", "en")], "list")],
    ),
    "add": (
        lambda m, v: m.search(m.words, "a", add=v),
        [(None, r"add must be a list of texts and pictures, found None"), ("cat", "found 'cat'"), (PICTURE, "Image")],
    ),
    "subtract": (
        lambda m, v: m.search(m.words, "a", subtract=v),
        [("cat", "subtract must be a list"), (3, "found 3"), ([3], "Expected one query"), (Path("a.png"), "must be a")],
    ),
    "k": (lambda m, v: m.search(m.words, "a", v), [(2**70, "k must be at most")]),
    "batch_size": (
        lambda m, v: m.encode_image(PICTURE, batch_size=v),
        [(65_537, "batch_size must be at most 65536, found 65537")],
    ),
    "batch_size of texts": (lambda m, v: m.encode_text("a", batch_size=v), [(10**30, "must be at most 65536")]),
    "batch_size of several": (
        lambda m, v: m.encode_image_each(PICTURE, [], batch_size=v),
        [(65_537, "at most 65536"), (0, "at least 1")],
    ),
    "chunk_size": (lambda m, v: m.encode("a", chunk_size=v), [(2**64, "chunk_size must be at most"), ("a", "whole")]),
    "prompt": (lambda m, v: m.encode("a", prompt=v), [(3, "prompt must be a string, found 3"), (["a"], "list")]),
    "prompt_name": (lambda m, v: m.encode("a", prompt_name=v), [(["a"], "prompt_name must be a string"), (3, "int")]),
    "truncate_dim": (
        lambda m, v: m.truncate_embeddings(v).__enter__(),
        [("a", "truncate_dim must be a whole number"), (0, "at least 1"), (2.0, "float")],
    ),
    "similarity": (
        lambda m, v: m.similarity(*v),
        [
            (("a", "b"), "Expected vectors .* found str"),
            (([[1, 2], [3]], [1, 2]), "found list"),
            ((np.zeros(3), np.zeros(4)), "one width, found 3 and 4"),
            ((np.zeros((1, 1, 3)), np.zeros(3)), r"found torch.float64 \(1, 1, 3\)"),
            ((None, np.zeros(3)), "found NoneType"),
            ((3, np.zeros(3)), r"found torch.int64 \(\)"),
            ((np.zeros(3, complex), np.zeros(3)), "complex"),
        ],
    ),
    "similarity_pairwise": (
        lambda m, v: m.similarity_pairwise(*v),
        [((np.zeros((2, 3)), np.zeros((3, 3))), "found 2 and 3"), (({}, {}), "found dict")],
    ),
}


@pytest.mark.parametrize(
    ("name", "value", "message"), [(name, value, text) for name, (_, all_) in REFUSED.items() for value, text in all_]
)
def test_another_kind_of_argument_is_refused(
    model: Aligner, project: Project, name: str, value: Any, message: str
) -> None:
    model.words = project.store("words")  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=message):
        REFUSED[name][0](model, value)


def test_similarity_takes_what_encode_gives(model: Aligner) -> None:
    vectors = model.encode_text(TEXTS)
    expected = torch.from_numpy(vectors @ vectors.T)
    for given in (vectors, torch.from_numpy(vectors), list(vectors), vectors.tolist(), vectors.astype(np.float64)):
        torch.testing.assert_close(model.similarity(given, vectors), expected, atol=1e-6, rtol=0)
    assert model.similarity(vectors[0], vectors).shape == (1, 2)
    assert model.similarity_pairwise(vectors[0], vectors).tolist() == pytest.approx(expected[0].tolist(), abs=1e-6)


LOADING: dict[str, tuple[dict[str, Any], type[PermafrostError], str]] = {
    "no name": ({"name": None}, ModelError, "Expected the folder of a trained aligner .* found NoneType"),
    "number": ({"name": 3}, ModelError, "found int"),
    "NUL": ({"name": "a\0b"}, ModelError, "no file has such a name"),
    "nobody": ({"name": "~nobody-is-called-so/x"}, ModelError, "no such user"),
    "long": ({"name": "x" * 4000}, ModelError, "longer than a file name may be"),
    "checkpoints": ({"checkpoints": 3}, DataError, "Expected a folder of checkpoints, found int"),
    "checkpoints of nobody": ({"checkpoints": "~nobody-is-called-so"}, DataError, "no such user"),
    "trust": ({"trust": 3}, DataError, r"trust must be a string, found 3 \(int\)"),
    "trust of several": ({"trust": ["a/b", None]}, DataError, "found None"),
    "revision": ({"revision": 3}, DataError, "revision must be a string"),
    "text": ({"text": ["a"]}, DataError, "text must be a string"),
    "prompts": ({"prompts": "query: "}, DataError, "prompts must be a dict of strings"),
    "a prompt": ({"prompts": {"query": 3}}, DataError, r"prompts\['query'\] must be a string"),
    "default prompt": ({"default_prompt_name": 3}, DataError, "prompt_name must be a string"),
    "device_map": ({"device_map": 3}, PermafrostError, "3"),
    "dtype": ({"dtype": 3}, DataError, "found 3"),
}


@pytest.mark.parametrize("case", LOADING)
def test_what_an_aligner_is_loaded_with_is_checked(project: Project, case: str) -> None:
    options, error, message = LOADING[case]
    with pytest.raises(error, match=message):
        Aligner.from_pretrained(**{"name": project.model("grid"), "device": "cpu"} | options)


PATHS: dict[str, tuple[Any, str]] = {
    "NUL": ("a\0b", "no file has such a name"),
    "nobody": ("~nobody-is-called-so", "no such user"),
    "long": ("x" * 300, "longer than a file name may be"),
    "surrogate": ("\ud800", "no file has such a name"),
    "nothing": (None, "found NoneType"),
    "number": (3, "found int"),
    "bytes": (b"a", "found bytes"),
}


@pytest.mark.parametrize("case", PATHS)
def test_a_path_that_no_file_has_is_refused(model: Aligner, case: str) -> None:
    path, message = PATHS[case]
    calls: list[tuple[type[PermafrostError], Callable[[], Any]]] = [
        (StoreError, lambda: FeatureStore.open(path)),
        (ModelError, lambda: model.save_pretrained(path)),
        (ModelError, lambda: model.export_onnx(path)),
        (ModelError, lambda: model.export_sentence_transformers(path)),
        (DataError, lambda: Collection.open(path, model)),
        (DataError, lambda: Collection.read(path)),
    ]
    if path is not None:
        calls.append((ModelError, lambda: model.segment(PICTURE, NAMES, dense_head=path)))
    if isinstance(path, str):
        calls.append((StoreError, lambda: model.search(path, "a")))
        calls.append((DataError, lambda: model.encode_image(path)))
    for error, call in calls:
        with pytest.raises(error, match=message):
            call()


def test_the_home_folder_stands_for_a_tilde(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_path("~/x", "a file") == user_path(Path("~/x"), "a file") == tmp_path / "x"


@pytest.mark.parametrize("expect", ["abc", 3, {}, {"digest": None}, ["digest"]])
def test_what_a_store_should_hold_is_a_fingerprint(project: Project, expect: Any) -> None:
    store = project.store("words")
    with pytest.raises(StoreError, match="expect must be a fingerprint"):
        FeatureStore.open(store.folder, expect=expect)
    assert len(FeatureStore.open(store.folder, expect=store.fingerprint)) == len(store)
