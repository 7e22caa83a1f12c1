"""Compose cut-outs into scenes with exact masks: python -m stages.scenes"""

from pipeline.config import Config
from pipeline.datasets.scenes import build_scenes
from pipeline.paths import SCENES, index_folder
from stages.entry import run


def scenes(config: Config, _item: str) -> None:
    """Read data/index/pairs, write data/index/scenes/composed."""
    params = config.section("scenes")
    about = build_scenes({name: index_folder("pairs", name) for name in params.pieces}, params, SCENES)
    print(f"{about['counts']['images']} composed scenes, {about['counts']['objects']} objects")


if __name__ == "__main__":
    run(scenes)
