"""Rows of further modalities: what the module of each has."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.config import EncodeParams, EncoderSpec, FurtherView
from pipeline.config.further import FURTHER
from pipeline.datasets.tables import table_columns
from pipeline.encoding.protocol import RowEncoder
from pipeline.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

BatchSize = Callable[[Callable[[int], None]], int]


class RowsOf(Protocol):
    """The module of a modality that encodes it."""

    def ids(self, index: Path, view: FurtherView) -> Sequence[str]:
        """The rows of a view, in the order of the index.

        Raises:
            DataError: the index has none.
        """
        ...

    def row_encoder(
        self,
        checkpoint: Path,
        encoder: EncoderSpec,
        view: FurtherView,
        index: Path,
        params: EncodeParams,
        device: str,
        tried: BatchSize,
    ) -> RowEncoder:
        """What encodes them, with the model loaded.

        Args:
            params: whose `batch_size` is a number, or "auto".
            device: as PyTorch names it.
            tried: finds the size for "auto", given what encodes a batch of so many.

        Raises:
            CheckpointError: the checkpoint cannot be loaded or lacks what the view asks for.
            DataError: the index has none.
        """
        ...

    def noise(
        self, checkpoint: Path, encoder: EncoderSpec, view: FurtherView, device: str, count: int
    ) -> "Callable[[], Tensor]":
        """What encodes a batch of noise, to see that an encoder works.

        Raises:
            CheckpointError, SourceError: it cannot be loaded, or what reads samples is not installed.
        """
        ...


def rows_of(modality: str) -> RowsOf:
    """The module of a modality of `FURTHER`."""
    found: RowsOf = FURTHER[modality].part("rows")
    return found


def require_samples(index: Path, modality: str) -> None:
    """Check that an index has samples of a further modality.

    Raises:
        DataError: it has none.
    """
    called = f"{FURTHER[modality].called}s"
    path = index / f"{modality}.parquet"
    if not path.is_file() or f"{modality}_id" not in table_columns(path):
        raise DataError(
            f"{index} has no {called}, and a view of an encoder of {called} takes nothing else. Which sources have "
            "some, docs/modalities.md says; leave the store out, or index the data set again with: dvc repro"
        )
