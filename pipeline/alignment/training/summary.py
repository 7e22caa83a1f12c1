"""Which member of a training is kept, and the figures of metrics.json."""

from collections.abc import Sequence
from typing import Any

from pipeline.alignment.artefact import mean_and_sd, totals
from pipeline.alignment.heads import parameter_count
from pipeline.alignment.training.members import ALONE
from pipeline.alignment.training.records import TrainedRepeat, best_record
from pipeline.config import TrainParams
from pipeline.errors import ModelError


def chosen(params: TrainParams, trained: Sequence[Sequence[TrainedRepeat]]) -> list[TrainedRepeat]:
    """The result to keep of each repeat: of the member that `member` names, or the best on its own validation split.

    The best has the highest validation recall of that repeat, the first of equals. Repeats do not share the choice,
    since what one of them validates on, another tests.

    Args:
        trained: per repeat, per member.

    Raises:
        ModelError: in some repeat the one that was named diverged, or every one did.
    """
    kept = []
    for repeat, results in enumerate(trained):
        whole = [result for result in results if result.history]
        if params.member != "best":
            whole = [result for result in whole if result.member.name == params.member]
        if not whole:
            which = "Every member" if params.member == "best" else f"Member {params.member!r}"
            raise ModelError(f"{which} diverged in repeat {repeat}. Lower its lr under train.members in params.yaml.")
        kept.append(max(whole, key=lambda result: result.val_recall))
    return kept


def summary(
    results: Sequence[TrainedRepeat], trained: Sequence[Sequence[TrainedRepeat]], training_pairs: Sequence[int]
) -> dict[str, Any]:
    """What metrics.json says of the results that are kept and, where there are several members, of each.

    Args:
        results: per repeat. `seconds` of one of several members are those of all, which trained together.
        trained: per repeat, per member.
        training_pairs: per repeat.
    """
    rows: list[dict[str, Any]] = [
        {
            "validation_recall": result.val_recall,
            "best_epoch": result.best_epoch,
            "best_step": best_record(result.history).step,
            "steps": result.history[-1].step,
            "seconds": result.seconds,
            "samples_seen": result.samples_seen,
            "training_pairs": training_pairs[i],
        }
        for i, result in enumerate(results)
    ]
    if results[0].member.name != ALONE:
        rows = [{**row, "member": result.member.name} for row, result in zip(rows, results, strict=True)]
    found = totals(rows, parameter_count(results[0].head))
    if results[0].member.name != ALONE:
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
