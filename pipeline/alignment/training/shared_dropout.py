"""Dropout of several processes that falls where it would in one: each draws for the whole batch, and uses its rows."""

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.alignment.processes import Processes


class SharedDropout(nn.Module):
    """`nn.Dropout` of a batch of which this process has a share, value by value that of one process.

    Attributes:
        rows: of the whole batch; to be set before every step.
    """

    def __init__(self, rate: float, processes: Processes) -> None:
        super().__init__()
        self.rate, self.rows, self._processes = rate, 0, processes

    def forward(self, x: Tensor) -> Tensor:
        """Zero each value of (R, ...) with probability `rate`, or divide it by 1 - rate; nothing in evaluation mode."""
        if not self.training or not self.rate:
            return x
        kept = F.dropout(x.new_ones((self.rows, *x.shape[1:])), self.rate)
        return x * kept[self._processes.share(self.rows)]


def share_dropout(head: nn.Module, processes: Processes) -> list[SharedDropout]:
    """Put `SharedDropout` in the place of every dropout of a head; gives them."""
    found = []
    for module in list(head.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                found.append(SharedDropout(child.p, processes))
                setattr(module, name, found[-1])
    return found
