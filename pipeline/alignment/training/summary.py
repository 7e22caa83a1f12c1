"""Which member of a training is kept, and the figures of metrics.json."""

import statistics
from collections.abc import Sequence
from typing import Any

from pipeline.alignment.artefact import mean_and_sd, totals
from pipeline.alignment.heads import parameter_count
from pipeline.alignment.training.members import ALONE
from pipeline.alignment.training.records import TrainedRepeat
from pipeline.config import TrainParams
from pipeline.errors import ModelError


def chosen(params: TrainParams, trained: Sequence[Sequence[TrainedRepeat]]) -> list[TrainedRepeat]:
    """The results of the member to keep, one per repeat: the one that `member` names, or the best on validation.

    The best has the highest mean of validation recall over repeats, the first of equals; one that diverged in some
    repeat is none.

    Args:
        trained: per repeat, per member.

    Raises:
        ModelError: the one that was named diverged, or each did in some repeat.
    """
    by_member = list(zip(*trained, strict=True))
    whole = [results for results in by_member if all(result.history for result in results)]
    if params.member != "best":
        whole = [results for results in whole if results[0].member.name == params.member]
    if not whole:
        which = "Every member" if params.member == "best" else f"Member {params.member!r}"
        raise ModelError(f"{which} diverged in some repeat. Lower its lr under train.members in params.yaml.")
    return list(max(whole, key=lambda results: statistics.fmean(result.val_recall for result in results)))


def summary(
    results: Sequence[TrainedRepeat], trained: Sequence[Sequence[TrainedRepeat]], training_pairs: Sequence[int]
) -> dict[str, Any]:
    """What metrics.json says of the results that are kept and, where there are several members, of each.

    Args:
        results: per repeat. `seconds` of one of several members are those of all, which trained together.
        trained: per repeat, per member.
        training_pairs: per repeat.
    """
    rows = [
        {
            "validation_recall": result.val_recall,
            "best_epoch": result.best_epoch,
            "seconds": result.seconds,
            "samples_seen": result.samples_seen,
            "training_pairs": training_pairs[i],
        }
        for i, result in enumerate(results)
    ]
    found = totals(rows, parameter_count(results[0].head))
    if results[0].member.name != ALONE:
        found["member"] = results[0].member.name
        found["members"] = {own[0].member.name: _member(own) for own in zip(*trained, strict=True)}
    return found


def _member(results: Sequence[TrainedRepeat]) -> dict[str, Any]:
    """Its own parameters and figures; null for the validation recall of a repeat in which it diverged at once."""
    params = results[0].member.params
    return {
        "validation_recall": mean_and_sd([result.val_recall for result in results])
        if all(result.history for result in results)
        else None,
        "repeats": {
            f"repeat_{i}": {
                "validation_recall": result.val_recall if result.history else None,
                "best_epoch": result.best_epoch,
                "seed": result.seed,
            }
            for i, result in enumerate(results)
        },
        **params.model_dump(include={"lr", "weight_decay", "dropout", "temperature"}),
    }
