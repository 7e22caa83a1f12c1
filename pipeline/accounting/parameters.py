"""How many parameters a frozen encoder has, read from the headers of its weight files; no tensor is loaded."""

import json
import struct
from collections.abc import Iterable
from math import prod
from pathlib import Path

from pipeline.config.further import WITHOUT_WEIGHTS
from pipeline.encoders.imported import IMPORTED
from pipeline.encoders.manifest import MANIFEST, read_manifest
from pipeline.errors import CheckpointError

_HEADER_LIMIT = 100_000_000  # the most that the format allows, in bytes
_BUFFERS = ("running_mean", "running_var")  # statistics of batch norms: floats, but not parameters


def parameter_count(folder: Path) -> int:
    """Number of floating-point scalars in the safetensors files of a checkpoint folder, sub-folders included.

    Running statistics of batch norms and integer buffers are left out.

    Raises:
        CheckpointError: there is no such file, or one is damaged.
    """
    files = sorted(folder.rglob("*.safetensors"))
    if not files:
        raise CheckpointError(f"{folder}: expected weights in a *.safetensors file, found none.")
    return sum(_count(path) for path in files)


def counts_by_weights(checkpoints: Iterable[Path]) -> dict[str, int]:
    """Parameters of every finished checkpoint among these folders, by the digest over its files; errors as above.

    Imported vectors count as 0, as what made them is not here, and statistics, of which nothing was learnt.
    """
    folders = sorted(folder for folder in checkpoints if (folder / MANIFEST).is_file())
    manifests = {folder: read_manifest(folder) for folder in folders}
    return {
        manifest.weights_sha256: 0 if manifest.loader in (IMPORTED, *WITHOUT_WEIGHTS) else parameter_count(folder)
        for folder, manifest in manifests.items()
    }


def _count(path: Path) -> int:
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > _HEADER_LIMIT:
                raise ValueError(f"a header of {length} bytes")
            header = json.loads(file.read(length))
        return sum(
            prod(tensor["shape"])
            for name, tensor in header.items()
            if name != "__metadata__" and "F" in tensor["dtype"] and not name.endswith(_BUFFERS)
        )
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is not a safetensors file ({error}). Make it again with: dvc repro") from error
