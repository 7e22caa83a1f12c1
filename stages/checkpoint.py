"""checkpoint@<encoder>: an encoder of params.yaml -> data/checkpoints/<encoder>."""

from pipeline.config import Config
from pipeline.encoders.checkpoint import materialise
from pipeline.paths import checkpoint_folder
from stages.entry import named, run


def checkpoint(config: Config, item: str) -> None:
    encoder = named(item, "encoder")
    materialise(config.section(f"encoders.{encoder}"), checkpoint_folder(encoder))


if __name__ == "__main__":
    run(checkpoint)
