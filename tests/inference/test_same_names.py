"""The table of docs/aligner.md against the installed sentence-transformers, name by name."""

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import Aligner
from pipeline.errors import DataError
from pipeline.inference.habits import ARGUMENTS, REFUSED
from pipeline.inference.options import Options, Wanted
from pipeline.torchvision_fix import ensure_torchvision
from tests.inference.conftest import Project, aligner

PAGE = Path(__file__).parents[2] / "docs/aligner.md"
CONSTRUCTOR = "SentenceTransformer"  # in the table; here it is from_pretrained
WHOLE = ""  # the row of a method without an argument


def theirs() -> dict[tuple[str, str], Any]:
    """(method, argument) -> default, of every public name that is not torch.nn.Module's."""
    ensure_torchvision()
    from sentence_transformers import SentenceTransformer

    found: dict[tuple[str, str], Any] = {}
    for name in ["__init__", *dir(SentenceTransformer)]:
        owner = next(cls.__name__ for cls in SentenceTransformer.__mro__ if name in vars(cls))
        if (name.startswith("_") and name != "__init__") or owner in ("Module", "object", "ABC"):
            continue
        label = CONSTRUCTOR if name == "__init__" else name
        if name != "__init__":
            found[label, WHOLE] = None
        value = inspect.getattr_static(SentenceTransformer, name)
        if callable(getattr(SentenceTransformer, name)) and not isinstance(value, property | type):
            signature = inspect.signature(getattr(SentenceTransformer, name))
            found |= {(label, key): entry.default for key, entry in signature.parameters.items() if key != "self"}
    return found


def table() -> Iterator[tuple[str, str, str]]:
    """Method, argument and status, one at a time."""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and cells[2] in ("same", "other", "refused"):
            for name in re.findall(r"`(\w+)`", cells[0]):
                for argument in re.findall(r"`(\w+)`", cells[1]) or [WHOLE]:
                    yield name, argument, cells[2]


ROWS = list(table())


@pytest.fixture(scope="module")
def model(project: Project) -> Aligner:
    return aligner(project)


def test_the_table_has_every_name_once() -> None:
    ours = [(name, argument) for name, argument, _ in ROWS]
    whole = {name for name, argument, status in ROWS if status == "refused" and argument == WHOLE}
    expected = {entry for entry in theirs() if entry[0] not in whole or entry[1] == WHOLE}
    assert len(ours) == len(set(ours))
    assert set(ours) == expected


def parameters(name: str) -> dict[str, Any]:
    """The arguments of our method and their defaults, those that it passes on to `encode` included."""
    method = getattr(Aligner, "from_pretrained" if name == CONSTRUCTOR else name)
    signature = inspect.signature(method).parameters
    found = {key: entry.default for key, entry in signature.items()}
    if "options" in found and name.startswith("encode"):
        found |= {key: getattr(Wanted(), key) for key in Options.__annotations__}
    return found


@pytest.mark.parametrize(("name", "argument"), [(n, a) for n, a, status in ROWS if status == "same"])
def test_what_is_the_same_has_the_same_default(name: str, argument: str) -> None:
    if argument == WHOLE:
        assert hasattr(Aligner, name)
        return
    ours = parameters(name)
    if argument in ("args", "kwargs"):
        kind = inspect.Parameter.VAR_POSITIONAL if argument == "args" else inspect.Parameter.VAR_KEYWORD
        assert any(entry.kind == kind for entry in inspect.signature(getattr(Aligner, name)).parameters.values())
        return
    assert argument in ours
    assert ours[argument] == theirs()[name, argument]


@pytest.mark.parametrize("name", [n for n, a, status in ROWS if status == "other" and a == WHOLE])
def test_what_is_other_is_there(model: Aligner, name: str) -> None:
    assert hasattr(model, name)


@pytest.mark.parametrize("name", [n for n, a, status in ROWS if status == "refused" and a == WHOLE])
def test_a_method_that_is_refused_says_what_to_do(model: Aligner, name: str) -> None:
    assert not hasattr(model, name)
    with pytest.raises(AttributeError, match=re.escape(f"Aligner has no {name}: {REFUSED[name]}")):
        getattr(model, name)
    assert f"`{name}`" in PAGE.read_text()
    assert REFUSED[name] in PAGE.read_text()


CALLS: dict[str, Callable[[Aligner, str, Any], Any]] = {
    CONSTRUCTOR: lambda _, argument, value: Aligner.from_pretrained("nowhere", **{argument: value}),
    "encode": lambda m, argument, value: m.encode("a", **{argument: value}),
    "encode_query": lambda m, argument, value: m.encode_query("a", **{argument: value}),
    "encode_document": lambda m, argument, value: m.encode_document("a", **{argument: value}),
    "save": lambda m, argument, value: m.save("nowhere", **{argument: value}),
    "save_pretrained": lambda m, argument, value: m.save_pretrained("nowhere", **{argument: value}),
    "push_to_hub": lambda m, argument, value: m.push_to_hub("me/nowhere", **{argument: value}),
}
VALUES: dict[str, Any] = {"output_value": "token_embeddings", "pool": {"input": None}, "safe_serialization": False}


@pytest.mark.parametrize(("name", "argument"), [(n, a) for n, a, status in ROWS if status == "refused" and a])
def test_an_argument_that_is_refused_says_what_to_do(
    model: Aligner, name: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=argument if name == CONSTRUCTOR else "."):
        CALLS[name](model, argument, VALUES.get(argument, "something"))
    assert not list(tmp_path.iterdir())


def test_what_nobody_knows_is_no_argument(model: Aligner) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Aligner.from_pretrained("nowhere", colour="red")
    with pytest.raises(TypeError, match="colour"):
        model.encode("a", colour="red")  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="'Aligner' object has no attribute 'colour'"):
        _ = model.colour
    assert not set(ARGUMENTS) & set(parameters(CONSTRUCTOR))
