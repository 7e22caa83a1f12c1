"""The sections of the page, in the order in which they stand there."""

from collections.abc import Callable

from pipeline.reporting.blocks import Section
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.costs import costs
from pipeline.reporting.sections.curation import curation
from pipeline.reporting.sections.findings import findings, main_finding, subtitle, title
from pipeline.reporting.sections.languages import languages
from pipeline.reporting.sections.provenance import provenance
from pipeline.reporting.sections.segmentation import benchmarks, segmentation
from pipeline.reporting.sections.similarity import similarity
from pipeline.reporting.sections.stages import stages
from pipeline.reporting.sections.tasks import classification, retrieval
from pipeline.reporting.sections.text_length import text_length
from pipeline.reporting.sections.toy import toy
from pipeline.reporting.sections.training import training

_SECTIONS: tuple[Callable[[RunData], Section], ...] = (
    findings,
    stages,
    retrieval,
    classification,
    languages,
    segmentation,
    benchmarks,
    text_length,
    training,
    similarity,
    toy,
    curation,
    costs,
    provenance,
)


def all_sections(run: RunData) -> list[Section]:
    """Every section; one whose input is not there says so."""
    return [section(run) for section in _SECTIONS]


__all__ = ["all_sections", "main_finding", "subtitle", "title"]
