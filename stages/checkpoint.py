"""checkpoint@<encoder>: an encoder of params.yaml -> data/checkpoints/<encoder>."""

from pipeline.config import CheckpointSettings
from pipeline.encoders.checkpoint import materialise
from pipeline.paths import checkpoint_folder
from stages.entry import run


def checkpoint(settings: CheckpointSettings) -> None:
    """Write data/checkpoints/<item>."""
    materialise(settings.encoder, checkpoint_folder(settings.name))


if __name__ == "__main__":
    run(checkpoint)
