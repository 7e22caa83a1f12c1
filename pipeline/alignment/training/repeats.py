"""Training the head of every repeat, and what is written as it goes."""

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from pipeline.alignment.artefact import FittedHeads
from pipeline.alignment.data.load import AlignmentData
from pipeline.alignment.fusion import behind, input_maps, through
from pipeline.alignment.heads import parameter_count
from pipeline.alignment.processes import Processes
from pipeline.alignment.standing import seen_from
from pipeline.alignment.training.curves import Write, curves
from pipeline.alignment.training.members import Member, members_of
from pipeline.alignment.training.records import EpochRecord
from pipeline.alignment.training.resume import Checkpoint, training_folder
from pipeline.alignment.training.schedule import planned_epochs, warmup_of
from pipeline.alignment.training.summary import chosen, summary
from pipeline.alignment.training.trainer import train_members
from pipeline.config import TrainedHead, TrainParams
from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

CURVES_FILE = "curves.csv"
MEMBERS_FILE = "members.csv"


def train_heads(
    name: str, spec: TrainedHead, params: TrainParams, data: AlignmentData, repeats: int, seed: int, folder: Path
) -> tuple[FittedHeads, Path | None]:
    """Train a head per split; repeat i is initialised with seed `seed * repeats + i`, as its split was drawn.

    A line per epoch goes to curves.csv as it ends. Of several members one is kept; all are in the metrics and, as they
    go, in members.csv. A killed run goes on where it stopped.

    Args:
        params: with what the head changes of them.
        folder: where the curves go.

    Returns:
        The heads, and the folder of their checkpoints, to be forgotten once all is saved. Of several processes, the
        first one alone writes curves and checkpoints.

    Raises:
        ModelError: training diverged, or the member to keep did.
        ConfigError: a captured step is asked for without a GPU, members or too small batches for several processes.
        ProcessError: the other processes cannot be reached.
    """
    if params.members and data.processes.several:
        raise ConfigError(
            f"train.members are trained side by side by one process, and {data.processes.count} were started: run "
            f"{name!r} without torchrun, or each member as an aligner of its own."
        )
    report_length(name, params, [len(pairs) for pairs in data.train])
    kept = params.checkpoint_seconds and data.processes.first
    checkpoints = training_folder(spec, params, seen_from(data, 0), seed) if kept else None
    maps = [input_maps(data, repeat) for repeat in range(repeats)]
    trained = []
    with _written(data.processes, folder / (MEMBERS_FILE if params.members else CURVES_FILE)) as write:

        def report(member: Member, record: EpochRecord) -> None:
            write(record, **({"member": member.name} if params.members else {}))

        for repeat, of_repeat in enumerate(maps):
            trained.append(
                train_members(
                    through(seen_from(data, repeat), of_repeat),
                    members_of(params, seed, repeats, repeat),
                    spec=spec,
                    repeat=repeat,
                    seed=seed * repeats + repeat,
                    on_record=report,
                    checkpoint=Checkpoint(checkpoints / f"{repeat}.safetensors", params.checkpoint_seconds)
                    if checkpoints
                    else None,
                )
            )
            for result in trained[-1]:
                log.info(
                    "%s repeat %d%s: validation R@1 %.4f at epoch %d, %.1f s",
                    name, repeat, f" {result.member.name}" if params.members else "", result.val_recall,
                    result.best_epoch, result.seconds,
                )  # fmt: skip
    results = chosen(params, trained)
    if params.members:
        names = ", ".join(result.member.name for result in results)
        log.info("%s: repeat by repeat, members %s are kept (train.member: %s)", name, names, params.member)
        with curves(folder / CURVES_FILE) as write:
            for record in (record for result in results for record in result.history):
                write(record)
    fitted = FittedHeads(
        heads=tuple(behind(result.head, of_repeat) for result, of_repeat in zip(results, maps, strict=True)),
        embed_dim=spec.embed_dim or seen_from(data, 0).features.texts.width,
        metrics=summary(results, trained, [len(pairs) for pairs in data.train]),
        seeds=tuple(result.seed for result in results),
        best_epochs=tuple(result.best_epoch for result in results),
        parameters=parameter_count(results[0].head),
    )
    return fitted, checkpoints


def _written(processes: Processes, path: Path) -> AbstractContextManager[Write]:
    """The file of curves, or nothing where another process writes it."""

    def nothing(record: EpochRecord, **more: Any) -> None:
        del record, more

    return curves(path) if processes.first else nullcontext(nothing)


def report_length(name: str, params: TrainParams, pairs: Sequence[int]) -> None:
    """Say where `epochs` are too few for `min_steps`, and warn where the warm-up is cut short.

    Args:
        pairs: of the train split of each repeat.
    """
    epochs, size = planned_epochs(min(pairs), params), params.batch_size
    steps = epochs * math.ceil(min(pairs) / size)
    if epochs > params.epochs:
        log.info("%s: %d epochs instead of %d, for at least %d steps", name, epochs, params.epochs, params.min_steps)
    if warmup_of(steps, params) < params.warmup_steps:
        log.warning(
            "%s: warmup_steps: %d is more than a tenth of the %d steps of this training; the rate warms up over %d. "
            "Raise train.epochs or train.min_steps, or lower train.warmup_steps in params.yaml",
            name, params.warmup_steps, steps, warmup_of(steps, params),
        )  # fmt: skip
