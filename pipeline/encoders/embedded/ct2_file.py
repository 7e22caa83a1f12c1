"""Reads the weights of a CTranslate2 model.bin, without ctranslate2."""

import struct
from pathlib import Path

import numpy as np

from pipeline.errors import CheckpointError

VERSION = 6
_DTYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


def read_weights(path: Path, spec: str) -> dict[str, np.ndarray]:
    """The weights by name, and those under another name too.

    The file has its version, the name and revision of its kind of model, and the number of its weights: each with name,
    rank, dimensions, type, bytes and values; then names that stand for others.

    Args:
        spec: the kind of model that is expected, for example WhisperSpec.

    Raises:
        CheckpointError: it is of another version or kind, or cut short.
    """
    content = path.read_bytes()
    reader = _Reader(content)
    try:
        version, found = reader.number("I"), reader.text()
        if (version, found) != (VERSION, spec):
            raise CheckpointError(f"{path}: expected {spec} of version {VERSION}, found {found} of version {version}")
        reader.number("I")
        weights = dict(reader.weight() for _ in range(reader.number("I")))
        for _ in range(reader.number("I")):
            alias = reader.text()
            weights[alias] = weights[reader.text()]
    except (struct.error, KeyError, ValueError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is no whole model of CTranslate2: {error}") from error
    if reader.place != len(content):
        raise CheckpointError(f"{path} has {len(content) - reader.place:,} bytes behind its end")
    return weights


class _Reader:
    def __init__(self, content: bytes) -> None:
        self._content, self.place = content, 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(f"<{kind}", self._content, self.place)
        self.place += struct.calcsize(f"<{kind}")
        return int(value)

    def text(self) -> str:
        length = self.number("H")  # with a zero byte at its end
        self.place += length
        return self._content[self.place - length : self.place - 1].decode()

    def weight(self) -> tuple[str, np.ndarray]:
        name = self.text()
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = np.dtype(_DTYPES[self.number("B")])
        size = self.number("I")
        values = np.frombuffer(self._content, dtype, size // dtype.itemsize, self.place).reshape(shape)
        self.place += size
        return name, values
