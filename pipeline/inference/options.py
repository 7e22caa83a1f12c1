"""The arguments of `encode` and what becomes of vectors on their way out, as sentence-transformers has it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import torch

from pipeline.errors import DataError
from pipeline.inference.arguments import MOST_BATCH, whole_number
from pipeline.torchvision_fix import ensure_torchvision

Precision = Literal["float32", "int8", "uint8", "binary", "ubinary"]
Devices = str | torch.device | Sequence[str | torch.device]

log = logging.getLogger("pipeline.inference")


class Options(TypedDict, total=False):
    """What all methods that encode take by keyword; see `Aligner.encode`."""

    batch_size: int
    show_progress_bar: bool | None
    output_value: str
    precision: Precision | None
    convert_to_numpy: bool
    convert_to_tensor: bool
    device: Devices | None
    normalize_embeddings: bool
    truncate_dim: int | None
    pool: None
    chunk_size: int | None
    urls: bool


@dataclass(frozen=True)
class Wanted:
    """`Options` with every value, checked.

    Raises:
        DataError: a value that is impossible, or that only sentence-transformers knows.
    """

    batch_size: int = 32
    show_progress_bar: bool | None = None
    output_value: str = "sentence_embedding"
    precision: Precision | None = "float32"
    convert_to_numpy: bool = True
    convert_to_tensor: bool = False
    device: Devices | None = None
    normalize_embeddings: bool = False
    truncate_dim: int | None = None
    pool: None = None
    chunk_size: int | None = None
    urls: bool = False

    def __post_init__(self) -> None:
        whole_number(self.batch_size, "batch_size", most=MOST_BATCH)
        for name in ("truncate_dim", "chunk_size"):
            if (value := getattr(self, name)) is not None:
                whole_number(value, name)
        if self.precision not in (None, *get_args(Precision)):
            raise DataError(f"precision must be one of {', '.join(get_args(Precision))}, found {self.precision!r}.")
        if self.output_value != "sentence_embedding":
            raise DataError(
                f"output_value={self.output_value!r}: an aligner gives one vector per input. Tokens of the shared "
                "space do not exist; those of an encoder are in a feature store with `tier: full`."
            )
        if self.pool is not None:
            raise DataError('There are no pools of processes here; pass several devices, device=["cuda:0", "cuda:1"].')

    @property
    def devices(self) -> list[str | torch.device]:
        """The devices that were named, if any."""
        if self.device is None:
            return []
        return [self.device] if isinstance(self.device, str | torch.device) else list(self.device)

    @property
    def progress(self) -> bool:
        """Whether to show a bar: as asked for, else where this package logs at INFO or below."""
        if self.show_progress_bar is not None:
            return self.show_progress_bar
        return log.getEffectiveLevel() in (logging.INFO, logging.DEBUG)

    @property
    def window(self) -> int:
        """How many inputs are held and encoded together."""
        return int(self.chunk_size or max(256, 16 * self.batch_size))

    def finish(self, vectors: np.ndarray, device: torch.device) -> Any:
        """Unit vectors (N, K) float32 as they were asked for: an array, a tensor on `device` or a list of tensors.

        Cut to `truncate_dim`, then brought to unit length again if wanted, then quantised.
        """
        if self.truncate_dim is not None:
            vectors = vectors[:, : self.truncate_dim]
        if self.normalize_embeddings:
            vectors = torch.nn.functional.normalize(torch.from_numpy(np.ascontiguousarray(vectors)), dim=1).numpy()
        if self.precision not in (None, "float32") and len(vectors):
            ensure_torchvision()
            from sentence_transformers.util import quantize_embeddings

            vectors = quantize_embeddings(vectors, precision=self.precision)
        vectors = np.ascontiguousarray(vectors)
        if self.convert_to_tensor:
            return torch.from_numpy(vectors).to(device)
        return vectors if self.convert_to_numpy else list(torch.from_numpy(vectors).to(device))
