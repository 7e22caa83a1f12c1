"""Training curves, and what training took and reached."""

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Content, Figure, Section, Table, missing
from pipeline.reporting.numbers import number
from pipeline.reporting.panel import Axes, Series, curves
from pipeline.reporting.run_data import RunData
from pipeline.reporting.svg import drawing

_PANELS = (("loss", "Training loss", "loss", 1.0), ("val_recall", "Validation R@1", "per cent", 100.0))


def training(run: RunData) -> Section:
    """Loss and validation recall of every aligner with a curve, mean and range over repeats; what training took."""
    blocks: list[Block] = []
    trained = run.style.ordered(name for name, rows in run.curves.items() if any("loss" in row for row in rows))
    if trained:
        charts = [_chart([_series(name, run.curves[name], column, run, factor) for name in trained], title, unit)
                  for column, title, unit, factor in _PANELS]  # fmt: skip
        caption = "Mean over repeats; the band reaches from the lowest to the highest repeat."
        blocks.append(Figure(charts, caption, run.style.legend(trained)))
    if run.models:
        blocks.append(_table(run))
    for name in run.settings.aligners:
        if name not in run.models:
            blocks.append(missing(f"The aligner {name} has not been fitted.", f"dvc repro train@{name}"))
    return Section("training", "Training", "Training", blocks)


def _series(name: str, rows: Sequence[dict[str, float]], column: str, run: RunData, factor: float) -> Series:
    """Mean and range over the repeats that reached each step."""
    by_step: dict[float, list[float]] = {}
    for row in rows:
        if column in row and "step" in row:
            by_step.setdefault(row["step"], []).append(factor * row[column])
    steps = sorted(by_step)
    return Series(
        name,
        run.style.colour(name),
        steps,
        [sum(by_step[step]) / len(by_step[step]) for step in steps],
        [min(by_step[step]) for step in steps],
        [max(by_step[step]) for step in steps],
    )


def _chart(series: Sequence[Series], title: str, unit: str) -> Markup:
    drawn = [one for one in series if one.x]
    axes = Axes(title, "step", unit, width=420, height=280)
    heights = [y for one in drawn for y in (*one.low, *one.high)] or [0.0]
    across, up = axes.scales([x for one in drawn for x in one.x] or [0.0], heights, zero=unit == "per cent")
    words = "; ".join(f"{one.name} ends at {one.y[-1]:.2f}" for one in drawn)
    return drawing(axes.width, axes.height, f"{title}: {words}", axes.frame(across, up) + curves(drawn, across, up))


def _table(run: RunData) -> Table:
    rows: list[list[Content]] = []
    for name in run.style.ordered(run.models):
        metrics = run.models[name]
        recall = metrics.get("validation_recall")
        rows.append([
            name,
            number(metrics.get("parameters"), "integer"),
            number(metrics.get("kept"), "integer"),
            number(metrics.get("samples_seen"), "integer"),
            number(metrics.get("seconds"), "seconds"),
            number(recall and recall.get("mean"), "percent1"),
            number(recall and recall.get("sd"), "percent1"),
        ])  # fmt: skip
    caption = (
        "Fitted: trained, or computed in closed form; kept: training rows inside a computed head, and random features. "
        "Samples and seconds are sums over repeats. Validation R@1 in per cent, at the chosen epoch."
    )
    columns = [
        "aligner",
        "fitted scalars",
        "kept scalars",
        "samples seen",
        "seconds",
        "validation R@1",
        "sd over repeats",
    ]
    return Table(caption, "data/models/*/metrics.json", columns, rows)
