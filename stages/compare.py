"""Similarity of every candidate pair of encoders: python -m stages.compare"""

from pipeline.config import Config
from pipeline.paths import COMPARE
from pipeline.similarity.compare import compare_views
from stages.entry import run


def compare(config: Config, _item: str) -> None:
    """Read data/splits and data/features/pairs, write data/compare."""
    repeats = config.section("splits").repeats
    print(compare_views(config.section("compare"), repeats=repeats, seed=config.section("seed"), out=COMPARE))


if __name__ == "__main__":
    run(compare)
