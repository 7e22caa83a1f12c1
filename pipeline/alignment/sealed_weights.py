"""Weights in safetensors files that carry a checksum of themselves, which is compared whenever they are loaded.

The format checks its own header, not what the tensors hold: a flipped bit in a weight would change results in silence.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import xxhash
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_CHECKSUM = "xxh3_128"  # alone in the metadata, if nothing else is kept there: safetensors gives several no order


class DamagedWeights(ValueError):
    """A file of weights is not what was written."""


def save_weights(tensors: Mapping[str, Tensor], path: Path, values: str | None = None) -> None:
    """Write tensors with their checksum; the same tensors give the same bytes.

    Args:
        values: a text that is kept, and summed, beside them; with one, bytes may differ from time to time.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {_CHECKSUM: _checksum(plain, values)} | ({} if values is None else {"values": values})
    save_file(plain, path, metadata=metadata)


def load_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The tensors of a file, on the CPU, and the text that was kept beside them.

    A file without a checksum, as earlier versions wrote them, is taken as it is.

    Raises:
        FileNotFoundError: there is none.
        DamagedWeights: it cannot be read, or does not have its checksum.
    """
    if not path.exists():
        raise FileNotFoundError(path)
    if not path.is_file():  # a pipe would be waited for
        raise DamagedWeights(f"{path} is not a regular file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError) as error:
        raise DamagedWeights(f"{path} cannot be read: {error}") from error
    values, expected = metadata.get("values"), metadata.get(_CHECKSUM)
    if expected is not None and _checksum(tensors, values) != expected:
        raise DamagedWeights(f"{path} is damaged: its weights do not have the checksum that was written with them")
    return tensors, values


def _checksum(tensors: Mapping[str, Tensor], values: str | None) -> str:
    """XXH3-128, in hex, of names, dtypes, shapes and bytes, in the order of the names."""
    running = xxhash.xxh3_128((values or "").encode())
    for name, tensor in sorted(tensors.items()):
        running.update(f"\0{name}\0{tensor.dtype}\0{list(tensor.shape)}\0".encode())
        running.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return running.hexdigest()
