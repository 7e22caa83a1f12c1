"""Fit one dense head to composed training scenes: python -m stages.dense +item=NAME"""

from pipeline.alignment.dense import fit_dense_head
from pipeline.config import DenseSettings
from stages.entry import run


def dense(settings: DenseSettings) -> None:
    """Read data/splits, training scenes and their features, features of captions; write data/dense/<item>."""
    fit_dense_head(settings.name, settings.dense_head, settings.repeats)


if __name__ == "__main__":
    run(dense)
