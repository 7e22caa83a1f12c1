"""The paper's two toy studies: python -m stages.toy +item=NAME"""

from pipeline.config import ToySettings
from pipeline.paths import TOY
from pipeline.similarity.toy import run_studies
from stages.entry import run


def toy(settings: ToySettings) -> None:
    """Read data/splits and data/features/pairs, write data/toy/<item>."""
    out = TOY / settings.name
    print(run_studies(settings.toy, settings.compare, repeats=settings.repeats, seed=settings.seed, out=out))


if __name__ == "__main__":
    run(toy)
