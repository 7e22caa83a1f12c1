"""Select training images by concept: python -m stages.curate +item=NAME"""

from pipeline.config import CurateSettings
from pipeline.config.concept_curations import ConceptCuration
from pipeline.curation import curate_by_concepts, curate_images
from pipeline.paths import curation_folder
from stages.entry import run


def curate(settings: CurateSettings) -> None:
    """Write data/curation/<item> from data/splits and data/features/pairs/<view>; `concept_curations` read more."""
    out = curation_folder(settings.name)
    spec, repeats, seed = settings.curation, settings.repeats, settings.seed
    if isinstance(spec, ConceptCuration):
        print(curate_by_concepts(spec, repeats=repeats, seed=seed, out=out))
    else:
        print(curate_images(spec, repeats=repeats, seed=seed, out=out, modality=settings.modality))


if __name__ == "__main__":
    run(curate)
