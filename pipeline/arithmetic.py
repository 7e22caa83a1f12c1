"""What a caller has set for PyTorch as a whole stays outside: features are computed as they were recorded."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch

_KINDS = ("cpu", "cuda", "mps")


@contextmanager
def own_arithmetic() -> Iterator[None]:
    """Neither the caller's autocast nor its default dtype or device nor less exact products apply inside.

    They are as before afterwards. The default dtype and the precision of products belong to the process: while they
    differ from float32, other threads see float32 meanwhile.
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
        if (restore := _exact_products()) is not None:
            stack.callback(restore)
        yield


def _exact_products() -> Callable[[], None] | None:
    """Have float32 matrices multiplied in float32, and return what undoes it; None where they are already.

    PyTorch has an earlier and a later way to say so. It refuses to read the earlier one while the two differ.
    """
    backends: list[Any] = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    later = [backend for backend in backends if hasattr(backend, "fp32_precision")]  # since PyTorch 2.9
    before: str | None = None
    with suppress(RuntimeError):
        before = torch.get_float32_matmul_precision()
    if before == "highest" and all(backend.fp32_precision in ("none", "ieee") for backend in later):
        return None
    precisions = [(backend, backend.fp32_precision) for backend in later]
    torch.set_float32_matmul_precision("highest")  # both ways

    def restore() -> None:
        if before is not None:
            torch.set_float32_matmul_precision(before)
        for backend, precision in precisions:
            backend.fp32_precision = precision

    return restore
