"""Index one data set: python -m stages.index +item=NAME."""

from pipeline.config import Config
from pipeline.datasets.index import build_index
from pipeline.paths import index_folder
from stages.entry import named, run


def index(config: Config, item: str) -> None:
    """Write data/index/<group>/<item>."""
    from pipeline.features.scratch import work_folder

    spec = config.section(f"datasets.{named(item, 'data set')}")
    about = build_index(spec, index_folder(spec.group, item), work_folder() / "downloads")
    counts = about["counts"]
    print(f"{item}: {counts['images']} images, {counts['texts']} texts, {counts['concepts']} concepts")


if __name__ == "__main__":
    run(index)
