"""Fit one aligner to cached features: python -m stages.train +item=NAME"""

from pipeline.alignment import fit_aligner
from pipeline.config import TrainSettings
from stages.entry import run


def train(settings: TrainSettings) -> None:
    """Read data/splits, data/curation/<data> and data/features/pairs/<view>, write data/models/<item>."""
    fit_aligner(settings)


if __name__ == "__main__":
    run(train)
