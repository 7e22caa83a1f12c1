"""The paper's two toy studies: python -m stages.toy"""

from pipeline.config import Config
from pipeline.paths import TOY
from pipeline.similarity.toy import run_studies
from stages.entry import run


def toy(config: Config, _item: str) -> None:
    """Read data/splits and data/features/pairs, write data/toy."""
    table = run_studies(
        config.section("toy"),
        config.section("compare"),
        repeats=config.section("splits").repeats,
        seed=config.section("seed"),
        out=TOY,
    )
    print(table)


if __name__ == "__main__":
    run(toy)
