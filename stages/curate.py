"""Select training images by concept: python -m stages.curate +item=NAME"""

from pipeline.config import Config
from pipeline.curation import curate_images
from pipeline.paths import curation_folder
from stages.entry import named, run


def curate(config: Config, item: str) -> None:
    """Read data/splits and data/features/pairs/<view>, write data/curation/<item>."""
    name = named(item, "curation")
    table = curate_images(
        config.section(f"curations.{name}"),
        repeats=config.section("splits").repeats,
        seed=config.section("seed"),
        out=curation_folder(name),
    )
    print(table)


if __name__ == "__main__":
    run(curate)
