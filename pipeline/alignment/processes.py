"""The processes of one training, and what they tell each other.

Each computes its own rows of every batch, and its loss is its share of the loss: over all processes the shares sum up
to what one process computes of the whole batch. So do the gradients, with nothing to be averaged. Alone, a process
talks to nobody and computes what it always did.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from pipeline.device import choose_device
from pipeline.errors import ConfigError, DataError, ProcessError
from pipeline.launched import Launch

TIMEOUT_VARIABLE = "PERMAFROST_PROCESS_TIMEOUT"
TIMEOUT = 1800.0  # seconds that a process waits for the others

_all_gather = getattr(distributed, "all_gather_single", None) or distributed.all_gather_into_tensor  # before torch 2.13
_reduce_scatter = getattr(distributed, "reduce_scatter_single", None) or distributed.reduce_scatter_tensor

Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """This process among those of a training.

    Attributes:
        rank, count: its number, from 0, and how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that validates, writes and decides."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    def share(self, rows: int) -> slice:
        """Its own of so many rows: a run of them, in size equal to the others' to within 1."""
        return slice(self.rank * rows // self.count, (self.rank + 1) * rows // self.count)

    def rows_of_all(self, own: Tensor, rows: int) -> Tensor:
        """The rows of every process in their order, (rows, ...), from its own, (r, ...).

        Gradients flow back: each process gets the sum over all processes of those by its own rows.
        """
        if not self.several:
            return own
        result: Tensor = _RowsOfAll.apply(own, rows, self)  # type: ignore[no-untyped-call]
        return result

    def stacked(self, values: Tensor) -> Tensor:
        """The same tensor of every process, (count, *shape). No gradient flows back."""
        if not self.several:
            return values[None]
        return self._gathered(values.detach()[None], self.count)

    def sum_(self, values: Tensor) -> Tensor:
        """Replace values by their sums over the processes, equal to the bit in all of them."""
        if self.several:
            with self._talking():
                distributed.all_reduce(values)
        return values

    def copy_from_first_(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of the first process."""
        if self.several:
            with self._talking(), torch.no_grad():
                for tensor in tensors:
                    if tensor.numel():
                        distributed.broadcast(tensor.detach(), 0)

    def of_first(self, value: Value) -> Value:
        """What the first process has, where tensors are on the CPU."""
        if not self.several:
            return value
        values = [value]
        with self._talking():
            distributed.broadcast_object_list(values, 0, device=torch.device("cpu"))
        return values[0]

    def of_all(self, value: Value) -> list[Value]:
        """What each process has, by rank; not for tensors."""
        return [self._of(value, rank) for rank in range(self.count)] if self.several else [value]

    def require_same(self, content: bytes, what: str) -> None:
        """Check that all processes have the same content.

        Raises:
            DataError: one has another; in every process.
        """
        if not self.several:
            return
        digests = self.of_all(hashlib.sha256(content).hexdigest())
        others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise DataError(
                f"{what} of process {', '.join(others)} differ from those of process 0; all must train on the same. "
                "Bring params.yaml, packages and data of every machine to the same state, for example with git pull "
                "and dvc pull."
            )

    def wait(self) -> None:
        """Wait until every process has come here."""
        if self.several:
            self.of_all(None)

    def _of(self, value: Value, rank: int) -> Value:
        values = [value]
        with self._talking():
            distributed.broadcast_object_list(values, rank, device=torch.device("cpu"))
        return values[0]

    def _gathered(self, own: Tensor, rows: int) -> Tensor:
        """Rows of all from its own, whose number `share` gives; bytes are sent, of any dtype."""
        most = -(-rows // self.count)
        sent = F.pad(own, [0, 0] * (own.ndim - 1) + [0, most - len(own)]) if len(own) < most else own
        received = sent.new_empty((self.count * most, *own.shape[1:]))
        if not received.numel():
            return received[:rows]
        with self._talking():
            _all_gather(_bytes(received), _bytes(sent.contiguous()))
        if rows == len(received):
            return received
        sizes = [len(range(rows)[Processes(rank, self.count).share(rows)]) for rank in range(self.count)]
        return torch.cat([part[:size] for part, size in zip(torch.split(received, most), sizes, strict=True)])

    def _summed_share(self, values: Tensor) -> Tensor:
        """Its own rows of the sum over the processes of (rows, ...), in the dtype of `values`."""
        rows, total = len(values), values.to(torch.promote_types(values.dtype, torch.float32)).contiguous()
        if values.device.type == "cuda" and not rows % self.count:
            own = total.new_empty((rows // self.count, *total.shape[1:]))
            with self._talking():
                _reduce_scatter(own, total)
            return own.to(values.dtype)
        total = total.clone() if total is values else total
        return self.sum_(total)[self.share(rows)].to(values.dtype)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """Raises ProcessError where the others cannot be reached."""
        try:
            yield
        except RuntimeError as error:  # so are all of torch.distributed
            raise ProcessError(
                f"Process {self.rank} of {self.count} can no longer reach the others ({_first_line(error)}): one of "
                f"them has ended, or was silent for {_timeout():g} seconds. What it wrote says why. Run the same "
                "command again, with any number of processes: training goes on from its last checkpoint."
            ) from error


ALONE = Processes()


class _RowsOfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, rows: int, processes: Processes) -> Tensor:
        ctx.processes = processes
        return processes._gathered(own, rows)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.processes._summed_share(grad), None, None


def device_of(launch: Launch, wanted: str) -> torch.device:
    """The device of this process: with several on a machine, the GPU of its number.

    Raises:
        ConfigError: there are fewer GPUs than processes, or it is a device that processes cannot share.
    """
    if launch.count == 1:
        return torch.device(choose_device(wanted))
    device = torch.device("cuda" if wanted == "auto" and torch.cuda.is_available() else "cpu")
    if wanted != "auto":
        device = torch.device(choose_device(wanted))
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ConfigError(f"train.device: {wanted} cannot be used by several processes. Use auto, cuda or cpu.")
    if ":" in wanted and launch.local_count == 1:
        return device
    if ":" in wanted:
        raise ConfigError(
            f"train.device: {wanted} names one GPU for the {launch.local_count} processes of this machine. Set "
            "train.device: cuda in params.yaml: each takes the GPU of its number."
        )
    gpus = torch.cuda.device_count()
    if launch.local_count > gpus:
        raise ConfigError(
            f"{launch.local_count} processes were started on this machine, and it has {gpus} GPU{'s'[: gpus != 1]}; "
            f"each needs one of its own. Start torchrun with --nproc-per-node {gpus}, or set train.device: cpu in "
            "params.yaml."
        )
    return torch.device("cuda", launch.local_rank)


@contextmanager
def joined(launch: Launch, device: torch.device) -> Iterator[Processes]:
    """The processes of `launch`, connected by NCCL on GPUs and by gloo on CPUs until the block ends in all of them.

    Raises:
        ProcessError: they cannot be reached, at the beginning or later.
    """
    if launch.count == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    timeout = _timeout()
    try:
        distributed.init_process_group(
            "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=timedelta(seconds=timeout)
        )
    except (RuntimeError, ValueError) as error:
        raise ProcessError(
            f"Process {launch.rank} of {launch.count} could not meet the others at {os.environ.get('MASTER_ADDR')}:"
            f"{os.environ.get('MASTER_PORT')} ({_first_line(error)}). All processes must be started with the same "
            "address, which must be open between their machines."
        ) from error
    processes = Processes(launch.rank, launch.count)
    try:
        yield processes
        processes.wait()
    except BaseException:
        if device.type == "cpu":  # the others shall notice at once; NCCL would wait for them
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def _timeout() -> float:
    found = os.environ.get(TIMEOUT_VARIABLE, "")
    try:
        seconds = float(found or TIMEOUT)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e9:
        raise ConfigError(f"{TIMEOUT_VARIABLE} is {found!r}; it is the seconds that a process waits for the others")
    return seconds


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _bytes(values: Tensor) -> Tensor:
    return values.flatten().view(torch.uint8)
