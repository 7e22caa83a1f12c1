"""Select training images by concept: python -m stages.curate +item=NAME"""

from pipeline.config import CurateSettings
from pipeline.curation import curate_images
from pipeline.paths import curation_folder
from stages.entry import run


def curate(settings: CurateSettings) -> None:
    """Read data/splits and data/features/pairs/<view>, write data/curation/<item>."""
    out = curation_folder(settings.name)
    spec, modality = settings.curation, settings.modality
    print(curate_images(spec, repeats=settings.repeats, seed=settings.seed, out=out, modality=modality))


if __name__ == "__main__":
    run(curate)
