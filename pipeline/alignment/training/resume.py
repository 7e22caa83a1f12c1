"""Resuming an interrupted training: its whole state in one file, outside of what DVC removes.

DVC empties the outputs of a stage before it runs again, so checkpoints are kept beside its cache, in a folder named
after everything that decides the weights. Another configuration, other data or other code never finds them.
"""

import hashlib
import itertools
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor

from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.data.streaming import StreamedFeatures
from pipeline.alignment.sealed_weights import DamagedWeights, load_weights, save_weights
from pipeline.config import TrainedHead, TrainParams
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)

FORGOTTEN_AFTER = 30 * 24 * 3600.0  # seconds since a checkpoint was last written
_FOLDER = "training"
_ROWS = 1024  # pairs whose features are part of the name
_TENSOR = "$tensor"  # key of a tensor's name among plain values
_NO_MATTER = {"checkpoint_seconds", "device", "features", "member"}  # what became of two of them is named beside


@dataclass
class Checkpoint:
    """The state of one repeat in one safetensors file, which is replaced as a whole; the one before it is kept.

    Attributes:
        path: of the file.
        seconds: between two checkpoints; 0 for none.
    """

    path: Path
    seconds: float
    _written: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether it is time for the next one."""
        return self.seconds > 0 and time.monotonic() - self._written >= self.seconds

    def write(self, state: Mapping[str, Any]) -> None:
        """Replace the file. An error is only a warning: training does not depend on the checkpoint.

        Args:
            state: nested mappings and lists of tensors and plain values.
        """
        tensors: dict[str, Tensor] = {}
        values = json.dumps(_split(state, "", tensors))
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.partial")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_weights(tensors, partial, values)
            if self.path.exists():
                os.replace(self.path, self._before)
            os.replace(partial, self.path)
        except (OSError, SafetensorError) as error:
            log.warning("No checkpoint of the training could be written to %s: %s", self.path, error)
            partial.unlink(missing_ok=True)
        self._written = time.monotonic()

    def read(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The last state, with its tensors on `device`; None if there is none.

        A damaged file is named in a warning and removed, and the one before it is read.
        """
        for path in (self.path, self._before):
            try:
                return _read(path, device)
            except FileNotFoundError:
                continue
            except (DamagedWeights, ValueError, KeyError, TypeError) as error:
                log.warning("The checkpoint %s of the training is not used, and removed: %s", path, error)
                path.unlink(missing_ok=True)
        return None

    def remove(self) -> bool:
        """Remove what there is, so that the next run starts from the beginning; whether there was anything."""
        found = [path for path in (self.path, self._before) if path.exists()]
        for path in found:
            path.unlink(missing_ok=True)
        return bool(found)

    @property
    def _before(self) -> Path:
        return self.path.with_name(f"{self.path.name}.before")


def moved(state: Any, device: torch.device) -> Any:
    """A state with its tensors on a device."""
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, Mapping):
        return {key: moved(value, device) for key, value in state.items()}
    return [moved(value, device) for value in state] if isinstance(state, list) else state


def _read(path: Path, device: torch.device | str) -> dict[str, Any]:
    tensors, values = load_weights(path)
    state: dict[str, Any] = _join(json.loads(values or ""), lambda name: tensors[name].to(device))
    return state


def _split(state: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """The state in a form for JSON: tensors are collected in `tensors` and replaced by their names."""
    if isinstance(state, Tensor):
        tensors[name] = state.detach().cpu().clone().contiguous()
        return {_TENSOR: name}
    if isinstance(state, Mapping):
        return {key: _split(value, f"{name}/{key}".lstrip("/"), tensors) for key, value in state.items()}
    if isinstance(state, Sequence) and not isinstance(state, str):
        return [_split(value, f"{name}/{number}", tensors) for number, value in enumerate(state)]
    return state


def _join(values: Any, tensor: Callable[[str], Tensor]) -> Any:
    """The inverse of `_split`; `tensor` returns a tensor by name."""
    if isinstance(values, list):
        return [_join(value, tensor) for value in values]
    if isinstance(values, dict):
        return tensor(values[_TENSOR]) if _TENSOR in values else {key: _join(values[key], tensor) for key in values}
    return values


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
        "features": "streamed"
        if isinstance(data.features, StreamedFeatures)
        else "in memory",  # which decides the order
        "fusions": {side: fusion.view.model_dump() for side, fusion in data.fusions.items()},
        "torch": torch.__version__,
    }
    found.update(json.dumps(settings, sort_keys=True, default=str).encode())
    for pairs in itertools.chain(data.train, data.validation):
        found.update(np.ascontiguousarray(pairs.cpu().numpy()).data)
    first = data.train[0]
    some = first[torch.linspace(0, len(first) - 1, min(_ROWS, len(first))).long()]
    images, texts = data.features.images.read(some[:, 0]), data.features.texts.read(some[:, 1])
    for tensor in (images.cls, images.local, texts.tokens):
        found.update(tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        found.update(source.read_bytes())
    return work_folder() / _FOLDER / found.hexdigest()[:32]


def forget(folder: Path) -> None:
    """Remove the checkpoints of a finished training, and any that were abandoned."""
    shutil.rmtree(folder, ignore_errors=True)
    for candidate in folder.parent.glob("*"):
        age = time.time() - max((path.stat().st_mtime for path in (candidate, *candidate.glob("*"))), default=0.0)
        if age > FORGOTTEN_AFTER:
            shutil.rmtree(candidate, ignore_errors=True)
