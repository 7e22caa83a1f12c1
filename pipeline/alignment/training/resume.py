"""Going on where a killed training stopped: all its state in one file, outside of what DVC removes.

DVC empties the outputs of a stage before it runs again, so checkpoints lie beside its cache, in a folder named after
everything that decides the weights. Another configuration, other data or other code never finds them.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.alignment.data.load import AlignmentData
from pipeline.config import TrainedHead, TrainParams
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = 30 * 24 * 3600.0  # seconds since a checkpoint was last written
_FOLDER = "training"
_ROWS = 1024  # pairs whose features are part of the name
_NO_MATTER = {"checkpoint_seconds", "device", "features", "member"}  # what became of two of them is named beside


@dataclass
class Checkpoint:
    """The state of one repeat on disk: tensors by name, and plain values. One file, replaced whole.

    Attributes:
        path: of the file.
        seconds: how long the training may run before it is written again; 0 for never.
    """

    path: Path
    seconds: float
    _written: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time to write."""
        return self.seconds > 0 and time.monotonic() - self._written >= self.seconds

    def write(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Replace what is there. A full disk is a warning: the training needs no checkpoint to go on."""
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_file(own, partial, metadata={"values": json.dumps(values)})
            os.replace(partial, self.path)
        except (OSError, SafetensorError) as error:
            log.warning("No checkpoint of the training could be written to %s: %s", self.path, error)
            partial.unlink(missing_ok=True)
        self._written = time.monotonic()

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What was written last; None where there is nothing, or, with a warning, nothing that can be read."""
        try:
            with safe_open(self.path, framework="pt") as file:
                values = json.loads(file.metadata()["values"])
                return {name: file.get_tensor(name) for name in file.keys()}, values  # noqa: SIM118, not a mapping
        except FileNotFoundError:
            return None
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("The checkpoint %s cannot be read and is not used: %s", self.path, error)
            return None


def training_folder(spec: TrainedHead, params: TrainParams, data: AlignmentData, seed: int) -> Path:
    """Where the checkpoints of a training lie, one file per repeat.

    Its name is a digest of the aligner, the parameters, the seed, the pairs of every split, the fingerprints of the
    stores and a sample of their rows, the version of torch and the code of this package.
    """
    found = hashlib.sha256()
    settings = {
        "head": spec.model_dump(exclude={"train"}),
        "train": params.model_dump(exclude=_NO_MATTER),
        "seed": seed,
    }
    settings |= {"digests": {side: one.get("digest") for side, one in data.fingerprints.items()}}
    settings |= {
        "device": data.features.device.type,
        "features": type(data.features).__name__,
        "torch": torch.__version__,
    }
    found.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for pairs in (*data.train, *data.validation):
        found.update(pairs.cpu().numpy().tobytes())
    some = data.train[0][torch.linspace(0, len(data.train[0]) - 1, min(_ROWS, len(data.train[0]))).long()]
    images, texts = data.features.read_images(some[:, 0]), data.features.read_texts(some[:, 1])
    for tensor in (images.cls, images.local, texts.tokens):
        found.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        found.update(source.read_bytes())
    return work_folder() / _FOLDER / found.hexdigest()[:32]


def forget(folder: Path) -> None:
    """Remove the checkpoints of a training that has ended, and those that nobody came back to."""
    shutil.rmtree(folder, ignore_errors=True)
    for other in folder.parent.glob("*"):
        age = time.time() - max((path.stat().st_mtime for path in (other, *other.glob("*"))), default=0.0)
        if age > FORGOTTEN_AFTER:
            shutil.rmtree(other, ignore_errors=True)
