"""A function of a block of similarities as few kernels on a GPU, by torch.compile; run as it is everywhere else.

On a GPU the time of a loss in blocks is that of moving the block through memory: run operation by operation it is read
and written about twenty times, fused it is read twice. On a CPU blocks stay in the cache, and compiling would take
longer than most trainings.
"""

import logging
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

import torch

log = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Fused(Generic[Arguments, Result]):
    """`function`, compiled at its first call with tensors on one of `devices`.

    It runs uncompiled inside a graph that is being compiled anyway, and inside `vmap`, which torch.compile does not
    take; so does it from then on, after one warning, where it cannot be compiled (no Triton, no C compiler).

    Args:
        function: of tensors, without side effects; its first argument tells the device.
        devices: kinds of device, such as "cuda".
        backend: of torch.compile.
    """

    def __init__(
        self, function: Callable[Arguments, Result], devices: tuple[str, ...] = ("cuda",), backend: Any = "inductor"
    ) -> None:
        self._function, self._devices, self._backend = function, devices, backend
        self._compiled: Callable[Arguments, Result] | None = None
        self._refused = False
        update_wrapper(self, function)

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        """The result of `function`."""
        if torch.compiler.is_compiling() or not self._wanted(args[0]):
            return self._function(*args, **kwargs)
        from torch._dynamo.exc import TorchDynamoException  # takes a second to import, which only GPUs need

        self._compiled = self._compiled or torch.compile(self._function, backend=self._backend)
        try:
            return self._compiled(*args, **kwargs)
        except TorchDynamoException as error:
            self._refused = True
            log.warning(
                "%s runs several times slower than it could: it cannot be compiled here (%s). "
                "torch.compile needs Triton and a C compiler",
                getattr(self._function, "__name__", "A loss"),
                " ".join(str(error).split()[:30]),
            )
            return self._function(*args, **kwargs)

    def _wanted(self, first: Any) -> bool:
        mapped = torch._C._functorch.is_batchedtensor(first)  # no public question says so
        return not (self._refused or mapped) and first.device.type in self._devices
