"""Ease of alignment: the CLIP loss that two small projectors reach in a fixed number of iterations.

The poster of Freeze-Align (CVPR 2025) measures the loss after 500 iterations and names neither the projectors nor the
optimiser nor the rows on which the loss is taken. Here: two layers with GELU on either side, a learned logit scale
from 1/0.07, AdamW, and the loss on training rows after the last iteration. On small data that loss measures how well
the projectors memorise; beside it stand the least loss on held-out rows over training, and recall there and then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from pipeline.config import ToySpec
from pipeline.device import choose_device
from pipeline.errors import DataError
from pipeline.similarity.batched_loss import MAX_SCALE, clip_loss
from pipeline.similarity.projectors import BatchedProjectors

_START = np.log(1 / 0.07)  # of the logarithm of the scale, as CLIP has it


@dataclass(frozen=True)
class Member:
    """Two spaces to align, (N, D) and (N, E) row by row, and the seed of initialisation and batch order."""

    first: np.ndarray
    second: np.ndarray
    seed: int


@dataclass(frozen=True)
class Ease:
    """What training reached.

    Attributes:
        loss: CLIP loss per training row after the last iteration.
        heldout_loss: the least one per held-out row, of those at every validation.
        heldout_recall: recall@1 at that validation among all held-out rows, mean of both directions; ties are misses.
        iteration: of that validation, from 1.
    """

    loss: float
    heldout_loss: float
    heldout_recall: float
    iteration: int


def align_all(
    members: Sequence[Member], train: np.ndarray, heldout: np.ndarray, params: ToySpec, name: str
) -> list[Ease]:
    """Train the projectors of all members together; members do not influence each other.

    Spaces are centred and divided by one number, so that they differ in nothing that CKA does not see: mean and scale.
    Both come from the training rows. A space wider than it has rows is rotated into the axes that they span, which
    changes no inner product. Batches have `params.batch_size` rows, or as many as there are; a loss over fewer
    rows is smaller by itself, so the two losses are to be compared between members and not with each other.

    Args:
        train, heldout: row numbers, the same for every member.
        name: of the study, for progress and messages.

    Raises:
        DataError: a side has fewer than 2 rows, or the loss is no longer finite.
    """
    if min(len(train), len(heldout)) < 2:
        raise DataError(f"Study {name!r} needs 2 rows to train on and 2 held out, found {len(train)}, {len(heldout)}")
    device = choose_device(params.device)
    seeds = [member.seed for member in members]
    sides = [
        BatchedProjectors(
            [_scaled(space, train) for space in spaces], params.width, [2 * seed + side for seed in seeds], device
        )
        for side, spaces in enumerate(([m.first for m in members], [m.second for m in members]))
    ]
    scale = torch.full((len(members),), float(_START), device=device, requires_grad=True)
    groups: list[dict[str, Any]] = [
        {"params": [*sides[0].parameters(), *sides[1].parameters()]},
        {"params": [scale], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=params.lr, fused=True)
    batches = torch.from_numpy(_orders(train, seeds, params)).to(device)
    best = np.full((3, len(members)), np.inf)  # least held-out loss, its recall and its iteration
    for step in trange(params.iterations, desc=f"toy: {name}", unit="step"):
        batch_loss_M = clip_loss(sides[0](batches[step]), sides[1](batches[step]), scale.exp())
        adamw.zero_grad()
        batch_loss_M.sum().backward()  # type: ignore[no-untyped-call]
        adamw.step()
        with torch.no_grad():
            scale.clamp_(max=float(np.log(MAX_SCALE)))
        if (step + 1) % params.validate_every == 0 or step + 1 == params.iterations:
            reached = _mean_loss(sides, scale, heldout, params.batch_size)
            now = np.stack([reached, _recall(sides, heldout), np.full(len(members), step + 1.0)])
            best = np.where(reached < best[0], now, best)
    loss_M = _mean_loss(sides, scale, train, params.batch_size)
    if not (np.isfinite(loss_M).all() and np.isfinite(best).all()):
        raise DataError(f"Study {name!r}: a loss is not finite after {params.iterations} steps. Lower toy.lr")
    return [
        Ease(float(loss), float(held), float(recall), int(iteration))
        for loss, held, recall, iteration in zip(loss_M, *best, strict=True)
    ]


def _scaled(space: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Centred, with a mean square of 1, with the mean and the scale of the training rows, (N, min(D, N)) float32."""
    centred = space.astype(np.float64) - space[train].astype(np.float64).mean(axis=0)
    if centred.shape[1] > len(centred):
        centred = centred @ np.linalg.qr(centred.T)[0]
    size = float(np.sqrt((centred[train] ** 2).mean()))
    return np.asarray(centred / (size if size > 0 else 1.0), dtype=np.float32)


def _orders(train: np.ndarray, seeds: Sequence[int], params: ToySpec) -> np.ndarray:
    """Rows of every batch, (iterations, M, B): each member orders each epoch anew; incomplete batches are dropped."""
    size = min(params.batch_size, len(train))
    per_epoch = len(train) // size
    epochs = -(-params.iterations // per_epoch)
    orders = np.empty((params.iterations, len(seeds), size), dtype=np.int64)
    for member, seed in enumerate(seeds):
        generator = np.random.default_rng(seed)
        rows = np.concatenate([generator.permutation(train)[: per_epoch * size] for _ in range(epochs)])
        orders[:, member] = rows.reshape(-1, size)[: params.iterations]
    return orders


@torch.no_grad()
def _mean_loss(sides: Sequence[BatchedProjectors], scale: Tensor, rows: np.ndarray, batch_size: int) -> np.ndarray:
    """Mean loss of each member over disjoint batches of the rows in a fixed random order, (M,) float64."""
    size = min(batch_size, len(rows))
    order = np.random.default_rng(len(rows)).permutation(rows)[: len(rows) // size * size].reshape(-1, size)
    total = torch.zeros(len(scale), dtype=torch.float64, device=scale.device)
    for batch in torch.from_numpy(order).to(scale.device):
        rows_MB = batch.expand(len(scale), -1)
        total += clip_loss(sides[0](rows_MB), sides[1](rows_MB), scale.exp()).double()
    return np.asarray((total / len(order)).cpu().numpy())


@torch.no_grad()
def _recall(sides: Sequence[BatchedProjectors], rows: np.ndarray) -> np.ndarray:
    """Recall@1 of each member among the rows, mean of both directions, (M,) float64."""
    members = len(sides[0].second)
    rows_MB = torch.from_numpy(rows).to(sides[0].second.device).expand(members, -1)
    score_MBB = torch.bmm(sides[0](rows_MB), sides[1](rows_MB).transpose(1, 2))
    own_MB = score_MBB.diagonal(dim1=1, dim2=2).clone()
    score_MBB.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    hits = [(own_MB > score_MBB.amax(dim=side)).double().mean(dim=1) for side in (1, 2)]
    return np.asarray(((hits[0] + hits[1]) / 2).cpu().numpy())
