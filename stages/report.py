"""One offline page of the whole run: python -m stages.report"""

from pipeline.config import ReportSettings
from pipeline.paths import REPORT
from pipeline.reporting import write_report
from stages.entry import run


def report(settings: ReportSettings) -> None:
    """Read the results under data, write data/report/index.html."""
    page = write_report(REPORT, settings)
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(report)
