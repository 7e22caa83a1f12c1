"""Putting the costs together."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.accounting.aligners import aligner_costs, ensemble_costs
from pipeline.accounting.machine import describe_machine
from pipeline.accounting.parameters import counts_by_weights
from pipeline.accounting.ratios import PUBLISHED_NOTES, own_ratios, published_ratios, seconds_at_use
from pipeline.accounting.stages import stage_costs
from pipeline.accounting.table import by_group, render
from pipeline.config import RunNames
from pipeline.files import write_json
from pipeline.paths import MODELS, checkpoint_folder

SCHEMA = 1
PROTOCOL = (
    "Seconds and peak memory are of the whole process of each stage, start of Python included, when it last really "
    "ran in this checkout; a stage without them was restored from DVC's cache. Bytes are those that a stage wrote, "
    "equal files included. Parameters of frozen encoders are the floating-point scalars in their checkpoint files; "
    "`trainable` counts the trained or fitted scalars of one head, the temperature included, and `kept` the training "
    "rows that a head in closed form keeps beside them (anchors of a kernel, landmarks), and random features drawn "
    "for it. Samples seen are training pairs times epochs, summed over repeats. Rows through a backbone are those "
    "that the encode loop noted for the stored features. Ratios named poster.* are worked out from the figures that "
    "the poster of Freeze-Align prints; the others are of this run."
)


def account(out: Path, names: RunNames) -> str:
    """Write costs.json and costs.summary.json into `out`; gives a table for the terminal.

    What is not there (a task that was not evaluated, no toy run) is left out; aligners that do not fit the checkpoints
    are named under `left_out`.

    Args:
        names: what params.yaml names; what earlier parameters left under data is not counted.

    Raises:
        DataError, CheckpointError: a file under data is damaged.
    """
    stages = stage_costs(names)
    checkpoints = [checkpoint_folder(encoder) for encoder in names.encoders]
    parameters = counts_by_weights(checkpoints)
    aligners, left_out = aligner_costs(MODELS, names.aligners, parameters)
    ensembles, without = ensemble_costs(MODELS, names.ensembles, parameters)
    aligners, ensembles = (
        [entry | {"seconds_at_use": seconds_at_use(entry, stages)} for entry in entries]
        for entries in (aligners, ensembles)
    )
    costs: dict[str, Any] = {
        "schema": SCHEMA,
        "protocol": PROTOCOL,
        "machine": describe_machine(),
        "stages": stages,
        "aligners": aligners,
        "ensembles": ensembles,
        "ratios": [*published_ratios(), *own_ratios(aligners, stages)],
        "notes": list(PUBLISHED_NOTES),
        "left_out": [*left_out, *without],
    }
    write_json(costs, out / "costs.json")
    write_json(_summary(costs), out / "costs.summary.json")
    return render(costs)


def _summary(costs: Mapping[str, Any]) -> dict[str, Any]:
    """A few numbers for `dvc metrics`: nested, no lists."""
    kept = ("trainable", "kept", "total", "trainable_share", "samples_seen", "train_seconds")
    groups = by_group(costs["stages"])
    return {
        **{
            group: {entry["aligner"]: {name: entry[name] for name in kept} for entry in costs[group]}
            for group in ("aligners", "ensembles")
        },
        "stages": {
            name: {"seconds": group["seconds"], "output_bytes": group["output_bytes"]} for name, group in groups.items()
        },
        "ratios": {entry["name"]: entry["value"] for entry in costs["ratios"] if entry["value"] is not None},
    }
