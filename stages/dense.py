"""Fit one dense head to composed training scenes: python -m stages.dense +item=NAME"""

from pipeline.alignment.dense import fit_dense_head
from pipeline.config import Config
from stages.entry import named, run


def dense(config: Config, item: str) -> None:
    """Reads data/splits, training scenes and their features, features of captions; writes data/dense/<item>."""
    name = named(item, "dense head")
    fit_dense_head(name, config.section(f"dense_heads.{name}"), config.section("splits").repeats)


if __name__ == "__main__":
    run(dense)
