"""Reading into memory that is in line with the file and into memory that is not."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.features.memory import LINE, PIECE, aligned_empty, read_into


@pytest.fixture
def content() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, 2 * PIECE + 1000, dtype=np.uint8)


@pytest.fixture
def descriptor(tmp_path: Path, content: np.ndarray) -> Iterator[int]:
    content.tofile(tmp_path / "file")
    opened = os.open(tmp_path / "file", os.O_RDONLY)
    yield opened
    os.close(opened)


@pytest.mark.parametrize("out_of_line", [0, 1, 16, LINE])
@pytest.mark.parametrize("offset", [0, 16, 777])
@pytest.mark.parametrize("length", [0, 100, PIECE, PIECE + 1, 2 * PIECE + 100])
def test_the_bytes_are_those_of_the_file(
    descriptor: int, content: np.ndarray, out_of_line: int, offset: int, length: int
) -> None:
    memory = aligned_empty((out_of_line + length + 8,), np.uint8)
    memory[:] = 7
    target = memory[out_of_line : out_of_line + length]
    assert read_into(descriptor, offset, target) == length
    assert np.array_equal(target, content[offset : offset + length])
    assert (memory[:out_of_line] == 7).all()
    assert (memory[out_of_line + length :] == 7).all()


@pytest.mark.parametrize("out_of_line", [0, 16])
def test_a_file_that_ends_is_read_to_its_end(descriptor: int, content: np.ndarray, out_of_line: int) -> None:
    memory = aligned_empty((out_of_line + len(content),), np.uint8)
    memory[:] = 7
    assert read_into(descriptor, 300, memory[out_of_line:]) == len(content) - 300
    assert np.array_equal(memory[out_of_line:-300], content[300:])
    assert (memory[-300:] == 7).all()


@pytest.mark.parametrize(
    ("shape", "dtype"), [((3, 5), np.float16), ((0, 384), np.float32), ((), np.int64), ((9,), bool)]
)
def test_aligned_arrays_are_ordinary_but_for_where_they_begin(shape: tuple[int, ...], dtype: type) -> None:
    array = aligned_empty(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % LINE == 0 or not array.size
