"""Folders under data that params.yaml no longer names: no stage reads them."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.config.aligners import NO_DATA
from pipeline.config.params import Params
from pipeline.config.stores import CLASSNAMES


def leftovers(params: Params, data: Path) -> Iterator[Path]:
    """What earlier parameters left behind below `data`, folder by folder."""
    named: dict[str, set[str]] = {
        "checkpoints": {*params.encoders},
        "index/pairs": {*params.datasets},
        "index/scenes": {*params.scenes},
        "index/prompts": {CLASSNAMES},
        "compare": {*params.compare},
        "toy": {*params.toy},
        "curation": {*params.curations, NO_DATA},
        "models": {*params.aligners},
        "dense": {*params.dense_heads},
    }
    for store in params.stores.by_name().values():
        named.setdefault(f"features/{store.group}/{store.view}", set()).add(store.dataset)
    for group in ("pairs", "scenes", "prompts"):
        named[f"features/{group}"] = {
            path.rpartition("/")[2] for path in named if path.startswith(f"features/{group}/")
        }
    for parent, kept in sorted(named.items()):
        for path in sorted((data / parent).glob("*")):
            if path.name not in kept and not path.name.startswith("."):
                yield path
    for path in sorted((data / "results").glob("*.json")):
        if path.name.partition(".")[0] not in params.evaluate.named:
            yield path
