"""Compose cut-outs into scenes with exact masks: python -m stages.scenes +item=NAME"""

from pipeline.config import ScenesSettings
from pipeline.datasets.scenes import build_scenes
from pipeline.paths import index_folder
from stages.entry import run


def scenes(settings: ScenesSettings) -> None:
    """Read data/index/pairs, write data/index/scenes/<item>."""
    indexes = {name: index_folder("pairs", name) for name in settings.scenes.pieces}
    counts = build_scenes(indexes, settings.scenes, index_folder("scenes", settings.name))["counts"]
    print(f"{settings.name}: {counts['images']} scenes, {counts['objects']} objects")


if __name__ == "__main__":
    run(scenes)
