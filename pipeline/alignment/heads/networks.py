"""Networks from one vector to another, as published heads use them for each modality.

Shapes: D the width of the features, K the shared width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class MLP(nn.Sequential):
    """Linear, GELU, dropout, Linear; hidden width `factor` times the input."""

    def __init__(self, d_in: int, d_out: int, dropout: float, factor: int = 4) -> None:
        hidden = factor * d_in
        super().__init__(nn.Linear(d_in, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, d_out))


class GatedUnit(nn.Module):
    """SAIL's head (Zhang et al., CVPR 2025): LayerNorm, then W3(ReLU6(W1 x) * W2 x), hidden width 8 times the input.

    From 2,048 to 1,024 it has 83.9 M parameters, from 1,024 25.2 M and from 4,096 302 M, as published.
    """

    def __init__(self, d_in: int, d_out: int, dropout: float, factor: int = 8) -> None:
        super().__init__()
        hidden = factor * d_in
        self.norm = nn.LayerNorm(d_in)
        self.gate = nn.Linear(d_in, hidden)
        self.value = nn.Linear(d_in, hidden)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., K)."""
        x = self.norm(x)
        projected: Tensor = self.output(self.dropout(F.relu6(self.gate(x)) * self.value(x)))
        return projected


class BottleneckBlock(nn.Module):
    """x + Linear(Dropout(GELU(Linear(LayerNorm(x))))), wider inside."""

    def __init__(self, width: int, dropout: float, factor: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, factor * width)
        self.dropout = nn.Dropout(dropout)
        self.contract = nn.Linear(factor * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., D)."""
        out: Tensor = x + self.contract(self.dropout(F.gelu(self.expand(self.norm(x)))))
        return out


class InvertedBottleneck(nn.Sequential):
    """FuseMix's adapter (Vouitsis et al., CVPR 2024): 4 inverted-bottleneck blocks of factor 4, then a projection."""

    def __init__(self, d_in: int, d_out: int, dropout: float, blocks: int = 4, factor: int = 4) -> None:
        super().__init__(
            *(BottleneckBlock(d_in, dropout, factor) for _ in range(blocks)), nn.LayerNorm(d_in), nn.Linear(d_in, d_out)
        )


class GatedLowRank(nn.Module):
    """STRUCTURE's head (NeurIPS 2025): orthogonal map plus gate * Up(GELU(Down(x))), of rank 64; gate 0 at first."""

    def __init__(self, d_in: int, d_out: int, dropout: float, rank: int = 64) -> None:
        super().__init__()
        self.skip = nn.Linear(d_in, d_out, bias=False)
        nn.init.orthogonal_(self.skip.weight)
        self.down = nn.Linear(d_in, rank)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(rank, d_out)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., D) to (..., K)."""
        projected: Tensor = self.skip(x) + self.gate * self.up(self.dropout(F.gelu(self.down(x))))
        return projected
