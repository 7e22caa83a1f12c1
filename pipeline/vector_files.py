"""Vectors in .npy files."""

from pathlib import Path

import numpy as np

from pipeline.errors import DataError
from pipeline.plain import open_regular


def read_vectors(file: Path, kinds: str = "f") -> np.ndarray:
    """A .npy file of rows, mapped.

    Args:
        kinds: of NumPy's dtypes that are taken, "f" for floating-point numbers and "i" for integers of 8 bits.

    Raises:
        DataError: it is missing, no array, or not rows of such numbers.
    """
    try:
        open_regular(file).close()
        array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file} cannot be read as an array: {error}") from error
    taken = isinstance(array, np.ndarray) and array.ndim == 2 and array.dtype.kind in kinds
    if not taken or (array.dtype.kind == "i" and array.dtype != np.int8):
        found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        numbers = "floating-point numbers" + (" or integers of 8 bits" if "i" in kinds else "")
        raise DataError(f"{file} should hold rows of {numbers}, (rows, width); it holds {found}.")
    return array
