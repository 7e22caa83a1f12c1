"""Folders under data that params.yaml no longer names: no stage reads them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.config.aligners import NO_DATA
from pipeline.config.concept_curations import NO_ALIGNER
from pipeline.config.params import Params
from pipeline.config.stores import CLASSNAMES

RESULTS = "results"


def named_outputs(params: Params) -> dict[str, tuple[str, ...]]:
    """What params.yaml names in each folder below data; of results the tasks."""
    named: dict[str, tuple[str, ...]] = {
        "checkpoints": tuple(params.encoders),
        "index/pairs": tuple(params.datasets),
        "index/scenes": tuple(params.scenes),
        "index/prompts": (CLASSNAMES,),
        "compare": tuple(params.compare),
        "toy": tuple(params.toy),
        "predictors": tuple(params.predictors),
        "curation": (*params.all_curations, NO_DATA),
        "models": (*params.all_aligners, NO_ALIGNER),
        "dense": tuple(params.dense_heads),
        RESULTS: tuple(params.evaluate.named),
        "features/pairs": (),
        "features/scenes": (),
        "features/prompts": (),
    }
    for store in params.stores.by_name().values():
        group, view = f"features/{store.group}", f"features/{store.group}/{store.view}"
        named[group] = tuple(dict.fromkeys((*named[group], store.view)))
        named[view] = (*named.get(view, ()), store.dataset)
    return named


def leftovers(named: Mapping[str, tuple[str, ...]], data: Path) -> Iterator[Path]:
    """What earlier parameters left behind below `data`, folder by folder.

    Args:
        named: as `named_outputs` gives it.
    """
    for parent, kept in sorted(named.items()):
        for path in sorted((data / parent).glob("*")):
            name = path.name.partition(".")[0] if parent == RESULTS else path.name
            if name not in kept and not path.name.startswith("."):
                yield path
