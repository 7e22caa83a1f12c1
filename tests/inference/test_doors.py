"""Arguments at the door, the caller's settings of PyTorch, copies and other processes, and what is kept."""

import copy
import json
import multiprocessing
import pickle
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pipeline import Aligner
from pipeline.arithmetic import own_arithmetic
from pipeline.device import choose_device
from pipeline.errors import ConfigError, DataError
from pipeline.inference.kept import Kept
from tests.features.stores import write_store
from tests.inference.conftest import WORDS, Project, aligner

PICTURE = Image.new("RGB", (60, 40), "red")


@pytest.fixture(scope="module")
def model(project: Project) -> Aligner:
    return aligner(project)


CALLS: dict[str, tuple[Callable[[Aligner, Any], Any], list[tuple[Any, str]]]] = {
    "k": (lambda m, v: m.search("nowhere", "a", k=v), [(0, "at least 1"), (2.0, "whole number"), (True, "(bool)")]),
    "top": (
        lambda m, v: m.classify(PICTURE, ["cat"], top=v),
        [(0, "at least 1"), ("2", "whole number"), (False, "(bool)")],
    ),
    "batch_size": (
        lambda m, v: m.encode_image(PICTURE, batch_size=v),
        [(0, "at least 1"), (1.5, "whole number"), (None, "(NoneType)")],
    ),
    "batch_size of texts": (lambda m, v: m.encode_text("a", batch_size=v), [(-3, "at least 1"), (True, "(bool)")]),
    "resolution": (lambda m, v: m.segment(PICTURE, ["cat"], resolution=v), [(0, "at least 1"), (28.0, "(float)")]),
    "query": (
        lambda m, v: m.search("nowhere", v),
        [(["a", "b"], "Expected one query.*found list"), (None, "found NoneType"), (np.zeros(3), "found ndarray")],
    ),
    "picture": (
        lambda m, v: m.encode_image(v),
        [(Image.new("RGB", (0, 5)), "found one of 0 x 5"), (Image.new("L", (3, 0)), "3 x 0"), ([3], "found int")],
    ),
    "text": (lambda m, v: m.encode_text(v), [(["a", "\ud800"], "Text 1: .* is no valid Unicode"), ([b"a"], "bytes")]),
    "templates": (
        lambda m, v: m.classify(PICTURE, ["cat"], v),
        [(None, "found None"), ([3], "Template 3 needs"), ([["a {}"]], "needs exactly one"), (b"a {}", "list of temp")],
    ),
    "pixels": (
        lambda m, v: m.encode_pixels(v),
        [
            (torch.zeros(3, 42, 42), re.escape("(N, 3, 42, 42), found torch.float32 (3, 42, 42)")),
            (torch.zeros(1, 3, 56, 56), "found torch.float32"),
            (torch.zeros(0, 3, 42, 42), "found torch.float32"),
            (torch.zeros(2, 3, 42, 42, dtype=torch.uint8), "found torch.uint8"),
            (np.zeros((1, 3, 42, 42)), "found ndarray"),
        ],
    ),
}


@pytest.mark.parametrize(("name", "value", "message"), [(n, v, m) for n, (_, vs) in CALLS.items() for v, m in vs])
def test_an_argument_is_refused_at_the_door(model: Aligner, name: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message if message[0] != "(" else re.escape(message)):
        CALLS[name][0](model, value)


def test_whole_numbers_of_numpy_are_taken(model: Aligner, project: Project) -> None:
    assert len(model.search(project.store("words"), "a guitar", k=np.int64(2))) == 2
    with pytest.raises(DataError, match="repeat must be at least 0"):
        aligner(project, repeat=-1)  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["meta", "tpu", 3.5, None, "cuda:99"])
def test_a_device_that_cannot_compute_is_refused(device: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be used here"):
        choose_device(device)
    assert choose_device(torch.device("cpu")) == "cpu"


@contextmanager
def default_dtype(dtype: torch.dtype) -> Any:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device() -> Any:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextmanager
def matmul_precision() -> Any:
    torch.set_float32_matmul_precision("medium")
    try:
        yield
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


@contextmanager
def backend_precision() -> Any:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        yield
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision("highest")


AMBIENT: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast to float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "default dtype": lambda: default_dtype(torch.float64),
    "default dtype of 16 bits": lambda: default_dtype(torch.bfloat16),
    "both": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "device": lambda: torch.device("meta"),
    "default device": default_device,
    "matmul precision": matmul_precision,
    "precision of a backend": backend_precision,
    "gradients": lambda: torch.enable_grad(),
    "no gradients": lambda: torch.no_grad(),
    "inference mode": lambda: torch.inference_mode(),
}


def answers(model: Aligner, project: Project) -> list[np.ndarray]:
    pixels = torch.stack([model.preprocess(PICTURE)])
    labels = model.classify(project.pictures[1], ["kite", "horse"])
    return [
        model.encode_image(project.pictures[:2]),
        model.encode_text(["a guitar", "an anchor"]),
        model.encode_pixels(pixels),
        model.segment(PICTURE, ["red", "blue"], resolution=28),
        np.array([hit.score for hit in model.search(project.store("grid"), "a guitar")]),
        np.array(sorted(label.probability for label in labels)),
    ]


@pytest.mark.parametrize("loaded", ["before", "inside"])
@pytest.mark.parametrize("state", AMBIENT)
def test_the_callers_settings_of_pytorch_change_nothing(project: Project, state: str, loaded: str) -> None:
    expected = answers(aligner(project), project)
    used = aligner(project) if loaded == "before" else None
    with AMBIENT[state](), default_dtype(torch.float64) if state == "both" else nullcontext():
        dtype, autocast = torch.get_default_dtype(), torch.is_autocast_enabled("cpu")
        found = answers(used or aligner(project), project)
        assert (torch.get_default_dtype(), torch.is_autocast_enabled("cpu")) == (dtype, autocast)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("state", [matmul_precision, backend_precision, nullcontext])
def test_products_are_exact_inside(state: Callable[[], AbstractContextManager[Any]]) -> None:
    cuda, cpu = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    with state():
        with own_arithmetic():
            assert torch.get_float32_matmul_precision() == "highest"
            assert {cuda.fp32_precision, cpu.fp32_precision} <= {"ieee", "none"}
        with pytest.raises(ZeroDivisionError), own_arithmetic():
            raise ZeroDivisionError


def _texts(model: Aligner) -> np.ndarray:
    return model.encode_text(["a guitar"])


def test_a_used_aligner_reaches_other_processes_and_copies(project: Project) -> None:
    model = aligner(project)
    before = answers(model, project)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), copy.copy(model)):
        assert repr(other) == repr(model)
        for one, expected in zip(answers(other, project), before, strict=True):
            np.testing.assert_array_equal(one, expected)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_allclose(pool.apply(_texts, (model,)), _texts(model), atol=1e-6)
    assert len(pickle.dumps(model)) < 2 * len(pickle.dumps(aligner(project))), "backbones travel"


def test_class_vectors_and_rows_are_kept(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    model, store = aligner(project), project.store("grid")
    first = model.classify(PICTURE, WORDS), model.search(store, "a guitar", k=3), model.search(store.folder, "a", k=3)
    seen: list[str] = []
    encode, projected = model._encoders.text_features, model._heads.embed_image

    def texts(given: list[str], *rest: Any) -> Any:
        seen.extend(given)
        return encode(given, *rest)

    def rows(cls: np.ndarray, local: np.ndarray) -> np.ndarray:
        assert len(cls) == 1, "the store went through the heads again"
        return projected(cls, local)

    monkeypatch.setattr(model._encoders, "text_features", texts)
    monkeypatch.setattr(model._heads, "embed_image", rows)
    assert model.classify(PICTURE, list(WORDS)) == first[0]
    assert seen == []
    assert model.search(str(store.folder), "a guitar", k=3) == first[1]
    assert model.search(store, "a", k=3) == first[2]
    assert seen == ["a guitar", "a"]
    model.classify(PICTURE, WORDS, ("{}",))
    assert seen[2:] == list(WORDS), "another template is another class"


def test_a_replaced_store_is_searched_anew(copied: Project) -> None:
    model, old = aligner(copied), copied.store("words")
    before = model.search(old, "a guitar", k=2)
    other = copied.store("grid").folder.with_name("other")
    ids = [hit.id for hit in model.search(old, "a guitar", k=99)]
    _write(other, old, list(reversed(ids)))
    after = model.search(other / "store", "a guitar", k=len(ids))
    assert [hit.id for hit in after[:2]] != [hit.id for hit in before]
    _write(other, old, ids)
    again = model.search(other / "store", "a guitar", k=len(ids))
    assert again != after
    assert model.search(old, "a guitar", k=2) == before


def _write(folder: Path, like: Any, order: list[str]) -> None:
    """A store whose id0, id1, ... have the features of these ids, under the same fingerprint."""
    out = write_store(folder, {"pooled": like.read("pooled", order)}, 4)
    metadata = (out / "zarr.json").read_text()
    content = json.loads(metadata)
    content["attributes"]["fingerprint"] = like.fingerprint
    (out / "zarr.json").write_text(json.dumps(content))
    (out / "manifest.json").unlink()


def test_what_is_kept_is_bounded() -> None:
    kept: Kept[bytes] = Kept(10, len)
    made: list[str] = []

    def get(key: str, size: int) -> int:
        return len(kept.get(key, lambda: made.append(key) or b"x" * size))  # type: ignore[func-returns-value]

    assert [get("a", 4), get("b", 4), get("a", 4), get("c", 4)] == [4] * 4  # b, used longest ago, is dropped
    assert get("a", 4) + get("c", 4) == 8
    assert made == ["a", "b", "c"]
    assert get("big", 11) == get("big", 11) == 11
    assert made == ["a", "b", "c", "big", "big"]
    assert get("a", 4) == 4
    assert (len(kept), made[5:]) == (2, [])


def test_one_further_resolution_is_kept(project: Project) -> None:
    model = aligner(project)
    model.encode_image(PICTURE)
    for resolution in (28, 56, 28, 70):
        model.segment(PICTURE, ["red"], resolution=resolution)
    assert list(model._encoders._image) == [(42, "model"), (70, "model")]
