"""Split all data sets by concept family: python -m stages.splits."""

from pipeline.config import Config
from pipeline.datasets.splits import build_splits
from pipeline.paths import DATA, SPLITS
from stages.entry import run


def splits(config: Config, _item: str) -> None:
    """Read every index under data/index/pairs, write data/splits."""
    folders = {folder.name: folder for folder in (DATA / "index" / "pairs").glob("*") if folder.is_dir()}
    summary = build_splits(folders, config.section("splits"), config.section("seed"), SPLITS)
    print(f"{summary['concepts']} concepts in {summary['families']} families, {len(summary['train_only'])} train only")
    for dataset, reason in summary["unavailable"].items():
        print(f"WITHOUT {dataset}: {reason}")


if __name__ == "__main__":
    run(splits)
