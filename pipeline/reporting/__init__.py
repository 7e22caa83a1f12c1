"""The report: one self-contained HTML page about the whole run."""

from pipeline.reporting.headline import write_headline
from pipeline.reporting.write import write_report

__all__ = ["write_headline", "write_report"]
