"""The sections of the page, in the order in which they stand there."""

from collections.abc import Callable, Collection

from pipeline.config import TASKS, imported
from pipeline.reporting.blocks import Section
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.costs import costs
from pipeline.reporting.sections.curation import curation, curations_to_show
from pipeline.reporting.sections.findings import findings, main_finding, subtitle, title
from pipeline.reporting.sections.predictors import predictors
from pipeline.reporting.sections.provenance import provenance
from pipeline.reporting.sections.similarity import similarity
from pipeline.reporting.sections.stages import stages
from pipeline.reporting.sections.toy import toy
from pipeline.reporting.sections.training import training


def all_sections(run: RunData) -> list[Section]:
    """The sections of what params.yaml names; a section whose input is missing says so."""
    settings = run.settings
    tasks: list[Section] = [imported(TASKS[name].section)(run, name) for name in TASKS if name in settings.tasks]
    optional: tuple[tuple[Callable[[RunData], Section], Collection[str]], ...] = (
        (training, settings.aligners),
        (similarity, settings.compare),
        (toy, settings.toy),
        (predictors, settings.predictors),
        (curation, curations_to_show(run)),
    )
    shown = [section(run) for section, names in optional if names]
    return [findings(run), stages(run), *tasks, *shown, costs(run), provenance(run)]


__all__ = ["all_sections", "main_finding", "subtitle", "title"]
