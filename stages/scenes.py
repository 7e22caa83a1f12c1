"""Compose cut-outs into scenes with exact masks: python -m stages.scenes"""

from pipeline.config import Config
from pipeline.datasets.scenes import TRAINING, build_scenes
from pipeline.paths import SCENES, TRAINING_SCENES, index_folder
from stages.entry import run


def scenes(config: Config, _item: str) -> None:
    """Read data/index/pairs, write data/index/scenes/composed and data/index/scenes/training."""
    params = config.section("scenes")
    indexes = {name: index_folder("pairs", name) for name in params.pieces}
    numbers = range(TRAINING, TRAINING + params.training)
    for out, chosen in ((SCENES, range(params.count)), (TRAINING_SCENES, numbers)):
        counts = build_scenes(indexes, params, out, chosen)["counts"]
        print(f"{out.name}: {counts['images']} scenes, {counts['objects']} objects")


if __name__ == "__main__":
    run(scenes)
