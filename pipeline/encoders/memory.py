"""Explains out-of-memory errors, which every library raises differently."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import CheckpointError

_SIGNS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the host or a device is out of memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError) and any(sign in str(error).lower() for sign in _SIGNS)


@contextmanager
def explain_out_of_memory(what: str, advice: str) -> Iterator[None]:
    """Turn every kind of out-of-memory error into one message.

    Args:
        what: what did not fit; the message starts with it.
        advice: how to make it smaller.

    Raises:
        CheckpointError: the host or the device is out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise CheckpointError(f"{what} does not fit into memory ({detail}); {advice}.") from error
