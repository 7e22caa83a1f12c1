"""Maps whose numbers are computed, not trained: what heads in closed form are made of.

Shapes: B rows, D the width that a map takes, M what it gives, N anchors.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Fitted(nn.Module):
    """A module of buffers alone, which takes its sizes from the state that it loads.

    Attributes:
        kept: names of the buffers that are not fitted: training rows that are kept as they are, and what was drawn.
    """

    kept: ClassVar[tuple[str, ...]] = ()

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any) -> None:
        for name, buffer in list(self._buffers.items()):
            loaded = state_dict.get(prefix + name)
            if buffer is not None and loaded is not None and loaded.shape != buffer.shape:
                self._buffers[name] = torch.empty_like(loaded, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Affine(Fitted):
    """(x - mean) @ matrix, or x - mean alone.

    Args:
        mean: (D,).
        matrix: (D, M); None for centring alone.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor | None = None, matrix: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(0) if mean is None else mean.float())
        self.register_buffer("matrix", torch.empty(0, 0) if matrix is None else matrix.float())

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., M)."""
        centred = x - self.mean
        return centred @ self.matrix if self.matrix.numel() else centred


class Scaled(Fitted):
    """(x - mean) * scale.

    Args:
        mean: (D,).
        scale: scalar.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor | None = None, scale: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mean", torch.empty(0) if mean is None else mean.float())
        self.register_buffer("scale", torch.tensor(1.0) if scale is None else scale.float())

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        return (x - self.mean) * self.scale


class Blocks(nn.Module):
    """Maps side by side: of the features of several views in a row, each goes through its own.

    Args:
        maps: in the order of the views; each keeps the width.
    """

    def __init__(self, maps: Sequence[Affine | Scaled]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(maps)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D1 + D2 + ...) to the same shape."""
        widths = [len(part.mean) for part in self.maps if isinstance(part, Affine | Scaled)]
        return torch.cat(
            [part(of_view) for part, of_view in zip(self.maps, torch.split(x, widths, -1), strict=True)], -1
        )


class RBF(Fitted):
    """exp(-gamma |x - anchor|^2) to every anchor, (..., N): a kernel machine's view of a row.

    Args:
        anchors: (N, D).
        gamma: scalar.
    """

    kept = ("anchors",)
    anchors: Tensor
    gamma: Tensor

    def __init__(self, anchors: Tensor | None = None, gamma: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.empty(0, 0) if anchors is None else anchors.float())
        self.register_buffer("gamma", torch.tensor(float(gamma)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., N)."""
        near = (x.square().sum(-1, keepdim=True) + self.anchors.square().sum(-1) - 2 * x @ self.anchors.T).clamp_min(0)
        return (-self.gamma * near).exp()


class Fourier(Fitted):
    """Random Fourier features (Rahimi and Recht, NeurIPS 2007): sqrt(2 / M) cos(x @ frequencies + phase).

    Their products approach exp(-gamma |x - y|^2) as M grows.
    """

    kept = ("frequencies", "phase")
    frequencies: Tensor
    phase: Tensor

    def __init__(self, frequencies: Tensor | None = None, phase: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.empty(0, 0) if frequencies is None else frequencies.float())
        self.register_buffer("phase", torch.empty(0) if phase is None else phase.float())

    @classmethod
    def draw(cls, width: int, size: int, gamma: float, generator: torch.Generator) -> "Fourier":
        """M = `size` features of the kernel of `gamma` on rows of `width`."""
        frequencies = torch.randn(width, size, generator=generator) * math.sqrt(2 * gamma)
        return cls(frequencies, 2 * math.pi * torch.rand(size, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., M)."""
        return math.sqrt(2 / len(self.phase)) * (x @ self.frequencies + self.phase).cos()


class Relative(Fitted):
    """ASIF's relative representation (Norelli et al., NeurIPS 2023): a row by its nearest anchors.

    Cosines to N anchors, of which the `neighbours` largest are kept, without those below 0, and raised to `exponent`.

    Args:
        anchors: (N, D), brought to unit length.
    """

    kept = ("anchors",)
    anchors: Tensor
    neighbours: Tensor
    exponent: Tensor

    def __init__(self, anchors: Tensor | None = None, neighbours: int = 400, exponent: float = 8.0) -> None:
        super().__init__()
        self.register_buffer("anchors", torch.empty(0, 0) if anchors is None else F.normalize(anchors.float(), dim=-1))
        self.register_buffer("neighbours", torch.tensor(neighbours))
        self.register_buffer("exponent", torch.tensor(float(exponent)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., N)."""
        cosine = F.normalize(x, dim=-1) @ self.anchors.T
        kept = int(self.neighbours)
        if kept < cosine.shape[-1]:
            least = cosine.topk(kept, dim=-1).values[..., -1:]
            cosine = torch.where(cosine >= least, cosine, torch.zeros_like(cosine))
        return cosine.clamp_min(0) ** self.exponent


def fitted_and_kept(head: nn.Module) -> tuple[int, int]:
    """Scalars of a computed head that were fitted; and those that it keeps: training rows, and what was drawn."""
    everything = sum(buffer.numel() for buffer in head.buffers())
    modules = [module for module in head.modules() if isinstance(module, Fitted)]
    kept = sum(getattr(module, name).numel() for module in modules for name in module.kept)
    return everything - kept, kept
