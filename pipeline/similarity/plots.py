"""Figures of the comparison and of the toy studies, as PNG; the same numbers give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

_UPWARDS = (
    ("loss", "CLIP loss, training rows, at the end"),
    ("heldout_loss", "CLIP loss, held-out rows, at its least"),
    ("heldout_recall", "recall@1, held-out rows"),
)
_PANELS = (("cka", "linear CKA, unbiased"), ("mutual_knn", "mutual-kNN"))


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without the version of the library, so that equal figures are equal files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def heatmap(pairs: Sequence[dict[str, Any]], texts: Sequence[str], control: str, path: Path) -> None:
    """Image spaces (rows) by text views (columns), one panel for each measure, the values printed."""
    spaces = sorted({(p["image"] == control, p["image"], p["pooling"], p["layer"]) for p in pairs})
    figure = Figure(figsize=(9, max(2.5, 1.4 + 0.32 * len(spaces))), layout="constrained")
    for axes, (measure, title) in zip(figure.subplots(1, 2, sharey=True), _PANELS, strict=True):
        axes.set_title(title)
        if not spaces:
            axes.text(0.5, 0.5, "no samples", ha="center", va="center")
            axes.set_axis_off()
            continue
        value = {(p["image"], p["pooling"], p["layer"], p["text"]): p[measure] for p in pairs}
        grid = np.array([[value[(*space[1:], text)] for text in texts] for space in spaces])
        axes.imshow(grid, aspect="auto", cmap="viridis", vmin=min(0.0, float(grid.min())))
        middle = (min(0.0, float(grid.min())) + float(grid.max())) / 2
        for (row, column), cell in np.ndenumerate(grid):
            axes.text(
                column, row, f"{cell:.3f}", ha="center", va="center", fontsize=8, color="w" if cell < middle else "k"
            )
        axes.set_xticks(range(len(texts)), texts)
        axes.set_yticks(range(len(spaces)), [_label(*space) for space in spaces], fontsize=8)
    save(figure, path)


def _label(is_control: bool, view: str, pooling: str, layer: int) -> str:
    return f"{view} layer {layer} {pooling}" + (" (control)" if is_control else "")


def scatter(points: Sequence[dict[str, Any]], control: str, path: Path) -> None:
    """CKA against the CLIP loss on training rows, the least one on held-out rows, and recall@1 there, from the top.

    Synthetic spaces stand on the left, coloured by noise; real ones on the right, by image view. Dotted lines are what
    a head reaches that tells nothing apart: ln(batch size), or recall by luck.
    """
    figure = Figure(figsize=(10, 10.8), layout="constrained")
    panels = figure.subplots(3, 2, sharex="col")
    drawn = [point for point in points if point["study"] == "synthetic"]
    views = sorted({p["image"] for p in points if p["study"] == "real"}, key=lambda view: (view == control, view))
    for (left, right), (loss, title) in zip(panels, _UPWARDS, strict=True):
        noise = [p["w1"] + p["w2"] for p in drawn]
        shown = left.scatter([p["cka"] for p in drawn], [p[loss] for p in drawn], c=noise, s=18)
        figure.colorbar(shown, ax=left, label="noise, w1 + w2")
        for number, view in enumerate(views):
            own = [p for p in points if p["study"] == "real" and p["image"] == view]
            is_control = view == control
            style = {"color": "0.45", "marker": "x"} if is_control else {"color": f"C{number}", "marker": "o"}
            label = f"{view} (control)" if is_control else view
            right.scatter([p["cka"] for p in own], [p[loss] for p in own], s=24, label=label, **style)
        if not views:
            right.text(0.5, 0.5, "no samples", ha="center", va="center", transform=right.transAxes)
        for axes in (left, right):
            axes.set_ylabel(title)
        for axes, study in ((left, "synthetic"), (right, "real")):
            levels = {p[f"chance_{loss}"] for p in points if p["study"] == study}
            for level in sorted(levels):
                axes.axhline(level, color="0.6", linestyle=":", linewidth=1)
    panels[0, 0].set_title("synthetic spaces")
    panels[0, 1].set_title("real spaces, every kept layer")
    if views:
        panels[0, 1].legend()
    for axes in panels[2]:
        axes.set_xlabel("linear CKA, unbiased")
    save(figure, path)
