"""What the modules Dense, LayerNorm and Normalize of sentence-transformers can do to one vector, as plain data.

Shapes: B rows, D the width of what comes in, M of what goes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["Identity", "GELU", "ReLU", "Softmax", "GLU"]  # classes of torch.nn that need no argument


@dataclass(frozen=True)
class Linear:
    """activation(x @ weight.T + bias).

    Attributes:
        weight: (M, D) float64; with "GLU", which halves the width, (2 M, D).
        bias: (M,) likewise; None for none.
    """

    weight: Tensor
    bias: Tensor | None = None
    activation: Activation = "Identity"

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, M)."""
        out = F.linear(x, self.weight.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
        if self.activation == "Softmax":
            return out.softmax(dim=-1)
        activated: Tensor = getattr(nn, self.activation)()(out)
        return activated


@dataclass(frozen=True)
class LayerNorm:
    """torch.nn.LayerNorm over the whole vector, with its default epsilon."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, D)."""
        return F.layer_norm(x, x.shape[-1:], self.weight.to(x.dtype), self.bias.to(x.dtype))


@dataclass(frozen=True)
class Unit:
    """Division by the length."""

    def __call__(self, x: Tensor) -> Tensor:
        """Map (B, D) to (B, D)."""
        return F.normalize(x, dim=-1)


Step = Linear | LayerNorm | Unit


def run(steps: Sequence[Step], x: Tensor) -> Tensor:
    """All steps, one after the other."""
    for step in steps:
        x = step(x)
    return x


def folded(steps: Sequence[Step]) -> list[Step]:
    """The same function in fewer steps: a linear map without activation becomes part of the next one."""
    out: list[Step] = []
    for step in steps:
        last = out[-1] if out else None
        if isinstance(step, Linear) and isinstance(last, Linear) and last.activation == "Identity":
            bias = step.bias
            if last.bias is not None:
                moved = step.weight @ last.bias
                bias = moved if bias is None else moved + bias
            out[-1] = Linear(step.weight @ last.weight, bias, step.activation)
        else:
            out.append(step)
    return out


def scaled(factor: float, width: int) -> Linear:
    """Multiplication by a number."""
    return Linear(factor * torch.eye(width, dtype=torch.float64))
