"""Index one data set: python -m stages.index +item=NAME."""

from collections import Counter
from pathlib import Path

from pipeline.config import IndexSettings
from pipeline.config.further import FURTHER
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from pipeline.datasets.tally import table_of
from pipeline.languages import language_lines
from pipeline.paths import index_folder
from stages.entry import run

_SHOWN = 5


def index(settings: IndexSettings) -> None:
    """Write data/index/pairs/<item>."""
    from pipeline.work_folder import work_folder

    item, folder = settings.name, index_folder("pairs", settings.name)
    about = build_index(settings.dataset, folder, work_folder() / "downloads", work_folder(), settings.bits)
    counts = about["counts"]
    media = (f"{one.called}s" for one in FURTHER.values())
    heard = "".join(f", {counts[called]} {called}" for called in media if called in counts)
    print(f"{item}: {counts['images']} images{heard}, {counts['texts']} texts, {counts['concepts']} concepts")
    if "tally" in about:
        print(*table_of(about["tally"]), sep="\n")
        if stray := about.get("outside_of_splits"):
            print(f"{item}: the folders {', '.join(stray)} are beside those of the splits; their pictures are failures")
    for line in language_lines(about["texts_per_language"]):
        print(f"{item}: {line}")
    if counts["failures"]:
        _print_failures(item, folder / "failures.parquet")


def _print_failures(item: str, path: Path) -> None:
    """What was left out, by reason; the table has all of it."""
    reasons = Counter(read_table(path, ["reason"]).column("reason").to_pylist())
    print(f"{item}: {reasons.total()} failures, listed in {path}; most often:")
    for reason, number in reasons.most_common(_SHOWN):
        print(f"  {number} x {reason}")


if __name__ == "__main__":
    run(index)
