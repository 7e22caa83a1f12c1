"""Many small projectors at once: the same layer of all members of a study is one batched matrix product.

Shapes: M members, N rows, B rows of a batch, D the width of a space, H the width of a projector.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BatchedProjectors(nn.Module):
    """Linear, GELU, Linear, unit length: one such projector per member, each on features of its own.

    Members of equal width share a batched product, so nothing is padded. Weights are drawn member by member, as
    `nn.Linear` draws them: a member starts, and so ends, the same whoever trains beside it.
    """

    def __init__(self, features: Sequence[np.ndarray], width: int, seeds: Sequence[int], device: str) -> None:
        """Prepare one projector per member.

        Args:
            features: M arrays (N, D_m) float32.
            seeds: M seeds of the initialisations.
        """
        super().__init__()
        drawn = [_draw(array.shape[1], width, seed) for array, seed in zip(features, seeds, strict=True)]
        widths = [array.shape[1] for array in features]
        groups = [[m for m, w in enumerate(widths) if w == distinct] for distinct in sorted(set(widths))]
        self._groups = [torch.tensor(group, device=device) for group in groups]
        self._rows = len(features[0])
        self._features = [torch.from_numpy(np.concatenate([features[m] for m in group])).to(device) for group in groups]
        self._place = torch.argsort(torch.cat(self._groups))
        self.first = nn.ParameterList(torch.stack([drawn[m][0] for m in group]).to(device) for group in groups)
        self.bias, self.second, self.second_bias = (
            nn.Parameter(torch.stack([weights[part] for weights in drawn]).to(device)) for part in (1, 2, 3)
        )

    def forward(self, rows_MB: Tensor) -> Tensor:
        """Unit vectors (M, B, H) of the given rows of each member's features."""
        hidden = []
        for group, features_XD, weight_GDH in zip(self._groups, self._features, self.first, strict=True):
            start = torch.arange(len(group), device=group.device)[:, None] * self._rows
            batch = features_XD.index_select(0, (rows_MB[group] + start).ravel())
            hidden.append(torch.bmm(batch.view(len(group), -1, features_XD.shape[1]), weight_GDH))
        hidden_MBH: Tensor = F.gelu(torch.cat(hidden)[self._place] + self.bias)
        projected: Tensor = torch.baddbmm(self.second_bias, hidden_MBH, self.second)
        return F.normalize(projected, dim=-1)


def _draw(d_in: int, width: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights and biases of both layers, uniform within 1 / sqrt(input width)."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(fan_in: int, *shape: int) -> Tensor:
        drawn: Tensor = (torch.rand(*shape, generator=generator) * 2 - 1) / fan_in**0.5
        return drawn

    return (
        uniform(d_in, d_in, width),
        uniform(d_in, 1, width),
        uniform(width, width, width),
        uniform(width, 1, width),
    )
