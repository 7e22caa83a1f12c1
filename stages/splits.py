"""Split all data sets by concept family: python -m stages.splits."""

from pipeline.config import SplitsSettings
from pipeline.datasets.splits import build_splits
from pipeline.paths import SPLITS, index_folder
from stages.entry import run


def splits(settings: SplitsSettings) -> None:
    """Read the indexes of the data sets that params.yaml names, write data/splits."""
    folders = {name: index_folder("pairs", name) for name in settings.datasets}
    summary = build_splits(folders, settings.splits, settings.seed, SPLITS)
    print(f"{summary['concepts']} concepts in {summary['families']} families, {len(summary['train_only'])} train only")
    for dataset, reason in summary["unavailable"].items():
        print(f"WITHOUT {dataset}: {reason}")


if __name__ == "__main__":
    run(splits)
