"""The structure of the code: no import cycles, rooms in their order, no model library behind `encode`, short files.

Imports are read from the syntax tree, so those inside functions count as well; those for type checkers alone do not.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = [
    "config",
    "datasets",
    "encoders",
    "features",
    "encoding",
    "similarity",
    "alignment",
    "evaluation",
    "inference",
    "curation",
    "interop",
    "explorer",
    "accounting",
    "predictors",
    "reporting",
    "store",
    "commands",
]
FACADE = "pipeline"  # pipeline/__init__.py, which offers the `Aligner` of `inference`
FRONTS = {FACADE: "inference", f"{FACADE}.__main__": "commands"}  # modules beside the rooms that stand for one
MODEL_LIBRARIES = {"transformers", "timm", "sentence_transformers", "open_clip"}
MAX_LINES = 350


@dataclass(frozen=True)
class Import:
    """A dotted name that a module imports; `at_start` if importing the module runs it."""

    name: str
    line: int
    at_start: bool


Imports = Mapping[str, list[Import]]  # by module


def read_imports(root: Path, *packages: str) -> Imports:
    """The imports of every module of some packages, by dotted name."""
    files = {_dotted(path.relative_to(root)): path for package in packages for path in (root / package).rglob("*.py")}
    return {name: list(_imports(ast.parse(path.read_text(encoding="utf-8")), True)) for name, path in files.items()}


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imports(node: ast.AST, at_start: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_start) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "relative imports are not used here"
            yield from (Import(f"{child.module}.{alias.name}", child.lineno, at_start) for alias in child.names)
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            yield from (found for other in child.orelse for found in _imports(ast.Module([other], []), at_start))
        else:
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, at_start and not is_function)


def targets(imports: Imports, module: str, at_start_only: bool = False) -> dict[str, int]:
    """The modules that a module imports, each with a line."""
    out = {}
    for entry in imports[module]:
        name = entry.name if entry.name in imports else entry.name.rpartition(".")[0]
        if name in imports and name != module and (entry.at_start or not at_start_only):
            out.setdefault(name, entry.line)
    return out


def import_cycle(imports: Imports) -> list[str]:
    """A chain of modules that ends where it begins; empty if there is none."""
    try:
        TopologicalSorter({module: targets(imports, module) for module in imports}).prepare()
    except CycleError as error:
        return [str(module) for module in error.args[1]]
    return []


def wrong_way(imports: Imports, rooms: list[str]) -> list[str]:
    """Imports of a later room, and imports of any room by a module beside the rooms."""

    def rank(module: str) -> int:
        if module in FRONTS:
            return rooms.index(FRONTS[module])
        room = module.split(".")[1]
        return rooms.index(room) if room in rooms else -1

    return [
        f"{module}, line {line} imports {target}"
        for module in imports
        for target, line in targets(imports, module).items()
        if rank(target) > rank(module)
    ]


def imported_at_start(imports: Imports, module: str) -> dict[str, str]:
    """The libraries that importing a module imports, each with the module that does so."""
    libraries: dict[str, str] = {}
    seen, waiting = {module}, [module]
    while waiting:
        current = waiting.pop()
        for entry in imports[current]:
            library = entry.name.split(".")[0]
            if entry.at_start and library != "pipeline":
                libraries.setdefault(library, current)
        packages = [current.rpartition(".")[0]] if "." in current else []
        for target in [*targets(imports, current, at_start_only=True), *packages]:
            if target in imports and target not in seen:
                seen.add(target)
                waiting.append(target)
    return libraries


def forbidden(imports: Imports, rooms: set[str], libraries: set[str]) -> list[str]:
    """The modules of some rooms whose import imports one of some libraries."""
    return [
        f"{module} imports {library}, in {where}"
        for module in imports
        if module != FACADE and module.split(".")[1] in rooms
        for library, where in imported_at_start(imports, module).items()
        if library in libraries
    ]


@pytest.fixture(scope="module")
def imports() -> Imports:
    return read_imports(ROOT, "pipeline")


def test_no_module_imports_itself_by_way_of_others(imports: Imports) -> None:
    assert import_cycle(imports) == []


def test_rooms_are_those_of_contributing_md() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    sentence = re.search(r"imports only rooms before it in the order ([a-z, ]+)[.;]", text)
    assert sentence is not None, "CONTRIBUTING.md should state the order of the rooms"
    assert sentence[1].split(", ") == ROOMS
    assert {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")} == set(ROOMS)


def test_rooms_import_only_rooms_before_them(imports: Imports) -> None:
    assert wrong_way(imports, ROOMS) == []


def test_the_library_imports_neither_stages_nor_tests(imports: Imports) -> None:
    outside = {"stages", "tests", "benchmarks"}
    assert [name for name, entries in imports.items() if any(e.name.split(".")[0] in outside for e in entries)] == []


def test_nothing_behind_encode_imports_a_model_library(imports: Imports) -> None:
    behind = set(ROOMS[ROOMS.index("encoding") + 1 :])
    assert forbidden(imports, behind, MODEL_LIBRARIES) == []
    assert forbidden(imports, {"reporting"}, {"torch"}) == []


def test_files_are_short() -> None:
    paths = [path for package in ("pipeline", "stages") for path in (ROOT / package).rglob("*.py")]
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in paths}
    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def planted(root: Path, **modules: str) -> Imports:
    """A package of the given modules, whose names have `__` for dots."""
    for name, code in modules.items():
        path = root / "pipeline" / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    return read_imports(root, "pipeline")


LAZY = "def load():\n    from pipeline.features.{0} import {0}\n"
TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pipeline.features.one import one\n"


def test_cycles_are_seen_also_through_functions_but_not_for_type_checkers(tmp_path: Path) -> None:
    assert import_cycle(planted(tmp_path, features__one="import pipeline.features.two", features__two=TYPES)) == []
    assert import_cycle(planted(tmp_path, features__two=LAZY.format("one")))


def test_wrong_order_is_seen(tmp_path: Path) -> None:
    imports = planted(tmp_path, features__one="", encoders__two=LAZY.format("one"), paths=LAZY.format("one"))
    assert sorted(wrong_way(imports, ROOMS)) == [
        "pipeline.encoders.two, line 2 imports pipeline.features.one",
        "pipeline.paths, line 2 imports pipeline.features.one",
    ]


def test_model_libraries_are_seen_through_other_modules_unless_they_are_imported_late(tmp_path: Path) -> None:
    imports = planted(
        tmp_path,
        encoders__one="def one():\n    import timm",
        evaluation__two="from pipeline.encoders.one import one",
    )
    assert forbidden(imports, {"evaluation"}, {"timm"}) == []
    assert forbidden(planted(tmp_path, encoders__one="import timm.data"), {"evaluation"}, {"timm"}) == [
        "pipeline.evaluation.two imports timm, in pipeline.encoders.one"
    ]


ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
MOST_FILES = {"a loss": 3, "a closed form": 3, "a task of evaluation": 3, "a source of data": 3, "a modality": 8}


def changes() -> dict[str, list[str]]:
    """What docs/architecture.md says to touch, by what is added."""
    rows = [line.strip("|").split("|") for line in ARCHITECTURE.splitlines() if line.startswith("| a")]
    return {what.strip(): re.findall(r"`([a-z_/]+(?:\.py|/))`", where) for what, where in rows}


def test_the_documented_places_of_changes_are_there_and_few() -> None:
    assert len(changes()) == 12
    for what, places in changes().items():
        assert places, what
        for place in places:
            assert [*(ROOT / "pipeline").rglob(place)], f"{what}: {place}"
        assert len(places) <= MOST_FILES.get(what, 8), what


def test_the_documented_tree_is_short_and_true() -> None:
    tree = re.findall(r"```\n(pipeline/.*?)```", ARCHITECTURE, flags=re.S)[0].splitlines()
    assert len(tree) <= 45
    rooms = {line.split()[0].rstrip("/") for line in tree if line.startswith("  ") and not line.startswith("    ")}
    folders = {path.name for path in (ROOT / "pipeline").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders <= rooms
    assert all((ROOT / "pipeline" / room).exists() for room in rooms)
