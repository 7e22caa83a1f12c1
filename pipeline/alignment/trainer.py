"""Training one head on cached features, wherever they lie: one repeat, which is one split and one initialisation."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import trange

from pipeline.alignment.batches import PairBatch
from pipeline.alignment.data import AlignmentData
from pipeline.alignment.heads import Head
from pipeline.alignment.heads.initial import initial_head
from pipeline.alignment.objective import Objective
from pipeline.alignment.schedule import learning_rate, optimiser
from pipeline.alignment.validation import read_validation, validation_recall
from pipeline.config.schema import AlignerSpec, TrainParams
from pipeline.errors import ModelError


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch showed; `epoch` counts from 1, `step` is the number of steps so far.

    `loss` is the mean over pairs, `grad_norm` the mean over steps before clipping; `lr` and `logit_scale` (what cosines
    are multiplied by) are those of the last step.
    """

    repeat: int
    epoch: int
    step: int
    loss: float
    lr: float
    logit_scale: float
    grad_norm: float
    samples_per_second: float
    val_recall: float


@dataclass(frozen=True)
class TrainedRepeat:
    """The weights of the epoch with the highest validation recall (the earliest of equals), and the way there."""

    head: Head
    seed: int
    best_epoch: int
    val_recall: float
    seconds: float
    samples_seen: int
    history: tuple[EpochRecord, ...]


def train_repeat(
    data: AlignmentData,
    params: TrainParams,
    *,
    spec: AlignerSpec,
    repeat: int,
    seed: int,
    on_epoch: Callable[[EpochRecord], None],
) -> TrainedRepeat:
    """Train the head of `spec` on the train split of `repeat`; the epoch is chosen on its validation split.

    `seed` fixes initialisation, order and dropout: on one CPU with one number of threads, equal seeds give equal
    weights. The generator of the caller is left as it was.

    Args:
        on_epoch: called with the record of each epoch as it ends.

    Raises:
        ModelError: the loss is no longer a finite number.
    """
    started = time.perf_counter()
    device = data.features.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        head = initial_head(spec, data, params, repeat)
        history, best_weights = _fit(
            head, Objective(spec.loss), data, params, repeat, torch.Generator().manual_seed(seed), on_epoch
        )
    head.load_state_dict(best_weights)
    head.eval()
    best = _best(history)
    return TrainedRepeat(
        head=head,
        seed=seed,
        best_epoch=best.epoch,
        val_recall=best.val_recall,
        seconds=time.perf_counter() - started,
        samples_seen=len(data.train[repeat]) * params.epochs,
        history=tuple(history),
    )


def _fit(
    head: Head,
    objective: Objective,
    data: AlignmentData,
    params: TrainParams,
    repeat: int,
    generator: torch.Generator,
    on_epoch: Callable[[EpochRecord], None],
) -> tuple[list[EpochRecord], dict[str, Tensor]]:
    """All epochs; returns their records and a copy of the best weights."""
    pairs, validation = data.train[repeat], read_validation(data, repeat)
    steps = params.epochs * math.ceil(len(pairs) / params.batch_size)
    adamw = optimiser(head, params)
    history: list[EpochRecord] = []
    weights: dict[str, Tensor] = {}
    step = 0
    for epoch in (progress := trange(1, params.epochs + 1, desc=f"repeat {repeat}", unit="epoch", leave=False)):
        started = time.perf_counter()
        losses, norms = [], []
        head.train()
        for batch in data.features.epoch(pairs, params.batch_size, generator, epoch):
            for group in adamw.param_groups:
                group["lr"] = learning_rate(step, steps, params)
            loss, norm = _step(head, objective, adamw, batch, step / steps, params.grad_clip)
            losses.append(loss * len(batch))
            norms.append(norm)
            step += 1
        mean_loss = float(torch.stack(losses).sum()) / len(pairs)
        if not math.isfinite(mean_loss):
            raise ModelError(
                f"The loss of repeat {repeat} is {mean_loss} in epoch {epoch}, after {step} steps with rates up to "
                f"{params.lr:g}. Lower train.lr or train.grad_clip, or raise train.warmup_steps in params.yaml."
            )
        seconds = time.perf_counter() - started
        record = EpochRecord(
            repeat=repeat,
            epoch=epoch,
            step=step,
            loss=mean_loss,
            lr=adamw.param_groups[0]["lr"],
            logit_scale=head.scale().item(),
            grad_norm=float(torch.stack(norms).mean()),
            samples_per_second=len(pairs) / seconds,
            val_recall=validation_recall(head, validation),
        )
        history.append(record)
        if _best(history) is record:
            weights = {name: value.clone() for name, value in head.state_dict().items()}
        progress.set_postfix(loss=f"{record.loss:.3f}", val_recall=f"{record.val_recall:.3f}")
        on_epoch(record)
    return history, weights


def _step(
    head: Head, objective: Objective, adamw: torch.optim.AdamW, batch: PairBatch, progress: float, clip: float
) -> tuple[Tensor, Tensor]:
    """One update on the pairs of `batch`; returns loss and gradient norm, still on the device."""
    loss = objective(head, batch, progress)["loss"]
    adamw.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(head.parameters(), clip or math.inf)
    adamw.step()
    head.clamp_scale()
    return loss.detach(), norm


def _best(history: list[EpochRecord]) -> EpochRecord:
    return max(history, key=lambda record: record.val_recall)  # max keeps the earliest of equals
