"""One offline page of the whole run, and its headline figures: python -m stages.report"""

from pipeline.config import ReportSettings
from pipeline.paths import HEADLINE, HEADLINE_PLOT, REPORT
from pipeline.reporting import write_headline, write_report
from stages.entry import run


def report(settings: ReportSettings) -> None:
    """Read the results under data, write data/report/index.html, data/headline.json and data/headline.csv."""
    write_headline(settings, HEADLINE, HEADLINE_PLOT)
    page = write_report(REPORT, settings)
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(report)
