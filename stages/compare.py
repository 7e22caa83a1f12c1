"""Similarity of every candidate pair of encoders: python -m stages.compare +item=NAME"""

from pipeline.config import CompareSettings
from pipeline.paths import COMPARE
from pipeline.similarity.compare import compare_views
from stages.entry import run


def compare(settings: CompareSettings) -> None:
    """Read data/splits and data/features/pairs, write data/compare/<item>."""
    out = COMPARE / settings.name
    print(compare_views(settings.compare, repeats=settings.repeats, seed=settings.seed, out=out))


if __name__ == "__main__":
    run(compare)
