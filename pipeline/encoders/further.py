"""Encoders of further modalities: what the module of each has, so that a checkpoint is described and made."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from pipeline.config import EncoderSpec
from pipeline.config.further import FURTHER
from pipeline.encoders.manifest import Description


class Towers(Protocol):
    """The module of a modality that has its encoders.

    Attributes:
        EMBEDDED: encoders that packages carry or that need no weights: name -> loader, and what writes the folder and
            returns what identifies it. `EMBEDDED` of `pipeline.encoders.embedded` has those of sounds.
    """

    EMBEDDED: Mapping[str, tuple[str, Callable[[Path], str]]]

    def describe(self, folder: Path, spec: EncoderSpec) -> Description:
        """A checkpoint from its configuration.

        Raises:
            CheckpointError: it is of no known family, or lacks what prepares its input.
        """
        ...


def towers(modality: str) -> Towers:
    """The module of a modality of `FURTHER`."""
    found: Towers = FURTHER[modality].part("towers")
    return found
