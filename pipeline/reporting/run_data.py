"""Everything the report reads, gathered once."""

from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import AUTO, ReportSettings
from pipeline.errors import ConfigError
from pipeline.paths import ACCOUNTING, COMPARE, DATA, MODELS, PREDICTORS, RESULTS, TOY, curation_folder, index_folder
from pipeline.reporting.clips import Clips
from pipeline.reporting.dag import StageGroup, expand
from pipeline.reporting.inputs import Node, read_curves, read_json
from pipeline.reporting.pictures import Library
from pipeline.reporting.style import AlignerStyle


class RunData:
    """The files of what params.yaml names, in its order; the root of the project is the working directory.

    A mapping lacks the names whose file is absent; a single absent file is None. Nothing else under data is read, so
    leftovers of earlier parameters are no part of the report.

    Raises:
        DataError: a file is damaged.
        ConfigError: params.yaml or dvc.yaml does not hold a YAML mapping.
    """

    def __init__(self, settings: ReportSettings) -> None:
        self.settings = settings
        self.params_text = _text(Path("params.yaml"))
        dvc, params = (_yaml(path, _text(path)) for path in (Path("dvc.yaml"), Path("params.yaml")))
        self.stages: list[StageGroup] = expand(dvc, params)
        self.results = _read(settings.tasks, lambda task: RESULTS / f"{task}.json")
        self.examples = _read(settings.tasks, lambda task: RESULTS / f"{task}.examples.json")
        self.similarity = _read(settings.compare, lambda name: COMPARE / name / "similarity.json")
        self.toy = _read(settings.toy, lambda name: TOY / name / "toy.json")
        self.predictors = _read(settings.predictors, lambda name: PREDICTORS / name / "predictors.json")
        self.costs = read_json(ACCOUNTING / "costs.json")
        self.coverage = _read(settings.curations, lambda name: curation_folder(name) / "coverage.json")
        self.models = _read(settings.aligners, lambda name: MODELS / name / "metrics.json")
        self.curves = {name: read_curves(MODELS / name / "curves.csv") or [] for name in self.models}
        self.sources = _read(settings.datasets, lambda name: index_folder("pairs", name) / "about.json")
        self.library = Library(DATA / "index")
        self.clips = Clips(DATA / "index")

    @cached_property
    def style(self) -> AlignerStyle:
        """Order and colours of the aligners."""
        return AlignerStyle.of(self.settings)

    def model_of(self, view: str) -> str:
        """The model behind a view, as its own library names it."""
        return "an encoder that a comparison chose" if view == AUTO else self.settings.models.get(view, view)

    def files(self) -> list[Path]:
        """The JSON files that were read."""
        studies = (self.similarity, self.toy, self.predictors)
        groups = (self.results, self.examples, *studies, self.coverage, self.models, self.sources)
        nodes = [node for group in groups for node in group.values()]
        return sorted({node.file for node in [*nodes, *([self.costs] if self.costs else [])]})


def _read(names: Iterable[str], path_of: Callable[[str], Path]) -> dict[str, Node]:
    nodes = {name: read_json(path_of(name)) for name in names}
    return {name: node for name, node in nodes.items() if node is not None}


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
