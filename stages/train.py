"""Train one aligner on cached features: python -m stages.train +item=NAME"""

from pipeline.alignment import train_aligner
from pipeline.config import Config
from stages.entry import named, run


def train(config: Config, item: str) -> None:
    """Reads data/splits and data/features/pairs/<view>; writes data/models/<item>."""
    aligner = named(item, "aligner")
    train_aligner(
        aligner,
        config.section(f"aligners.{aligner}"),
        config.section("train"),
        repeats=config.section("splits").repeats,
        seed=config.section("seed"),
    )


if __name__ == "__main__":
    run(train)
