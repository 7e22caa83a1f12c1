"""What a caller has set for PyTorch as a whole stays outside: features are computed as they were recorded."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_KINDS = ("cpu", "cuda", "mps")


@contextmanager
def own_arithmetic() -> Iterator[None]:
    """Neither the caller's autocast nor its default dtype or device apply inside; they are as before afterwards.

    The default dtype belongs to the process: while it differs from float32, other threads see float32 meanwhile.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        for kind in _KINDS:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield
