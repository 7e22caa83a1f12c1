"""Running out of memory, said in words: every library has its own error for it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import CheckpointError

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory of the host or of a device is used up."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(sign in str(error).lower() for sign in _SIGNS)


@contextmanager
def memory_is_said(what: str, advice: str) -> Iterator[None]:
    """Turn whatever says that memory is used up into one message.

    Args:
        what: what did not fit, the start of the message.
        advice: how to make it smaller.

    Raises:
        CheckpointError: the memory of the host or of the device does not suffice.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{what} does not fit into memory ({detail}); {advice}.") from error
