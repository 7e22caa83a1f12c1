"""Everything the report reads, gathered once."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError
from pipeline.paths import ACCOUNTING, COMPARE, DATA, MODELS, RESULTS, TOY
from pipeline.reporting.inputs import Node, read_curves, read_json
from pipeline.reporting.pictures import Library

TASKS = (*("retrieval", "classification", "multilingual", "segmentation", "segmentation_benchmarks", "long_text"),)


@dataclass(frozen=True)
class Cast:
    """The aligners in the order in which they stand on the page, and the CSS class that colours each."""

    control: str
    showcase: str
    aligners: tuple[str, ...]

    def ordered(self, names: set[str]) -> list[str]:
        """`names`: the control first, then the showcase, then as in params.yaml, then by name."""
        known = [self.control, self.showcase, *self.aligners]
        return sorted(names, key=lambda name: (known.index(name) if name in known else len(known), name))

    def colour(self, name: str) -> str:
        """`control`, or s0 (the showcase) to s5; `<aligner>-<method>` has that of the aligner."""
        known = self.ordered({*self.aligners, self.showcase, self.control})
        owner = name if name in known else name.rpartition("-")[0]
        if owner == self.control:
            return "control"
        others = [n for n in known if n != self.control]
        return f"s{others.index(owner) % 6}" if owner in others else "s5"

    def legend(self, names: set[str]) -> list[tuple[str, str]]:
        """(colour class, words) of each aligner."""
        control = " (random weights)" if self.control == "control" else " (control: random weights)"
        return [(self.colour(n), n + (control if n == self.control else "")) for n in self.ordered(names)]


class RunData:
    """The files of one project, whose root is the working directory; an absent file is None or missing from a mapping.

    Raises:
        DataError: a file is damaged.
        ConfigError: params.yaml or dvc.yaml is no YAML mapping.
    """

    def __init__(self) -> None:
        self.params_text = _text(Path("params.yaml"))
        self.params: dict[str, Any] = _yaml(Path("params.yaml"), self.params_text)
        self.stages: dict[str, Any] = _yaml(Path("dvc.yaml"), _text(Path("dvc.yaml"))).get("stages", {})
        self.results = _present({task: read_json(RESULTS / f"{task}.json") for task in TASKS})
        self.examples = _present({task: read_json(RESULTS / f"{task}.examples.json") for task in TASKS})
        self.similarity = read_json(COMPARE / "similarity.json")
        self.toy = read_json(TOY / "toy.json")
        self.costs = read_json(ACCOUNTING / "costs.json")
        self.coverage = _present({path.parent.name: read_json(path) for path in _each("curation", "coverage.json")})
        self.models = _present({path.parent.name: read_json(path) for path in _each("models", "metrics.json")})
        self.curves = {name: read_curves(MODELS / name / "curves.csv") or [] for name in self.models}
        self.sources = _present({path.parent.name: read_json(path) for path in _each("index/pairs", "about.json")})
        self.library = Library(DATA / "index")

    @cached_property
    def cast(self) -> Cast:
        """Who is who, by params.yaml."""
        evaluate = self.params.get("evaluate", {})
        names = tuple(self.params.get("aligners", {}))
        return Cast(str(evaluate.get("control", "control")), str(evaluate.get("showcase", "default")), names)

    def encoder_of(self, view: str) -> str:
        """The model behind a view, as its own library names it; the view's name where params.yaml does not say."""
        encoder = self.params.get("views", {}).get(view, {}).get("encoder", "")
        entry = self.params.get("encoders", {}).get(encoder, {})
        return str(entry.get("model", entry.get("catalogue", view)))


def _each(folder: str, name: str) -> list[Path]:
    return sorted((DATA / folder).glob(f"*/{name}"))


def _present(found: Mapping[str, Node | None]) -> dict[str, Node]:
    return {key: node for key, node in found.items() if node is not None}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _yaml(path: Path, text: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} should hold named sections; it holds a {type(content).__name__}.")
    return content
