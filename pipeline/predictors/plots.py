"""Scatter plots of what each predictor said and what came of it, every point with its name."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pipeline.similarity.plots import save

_PANELS = (
    ("cka", "linear CKA, unbiased"),
    ("mutual_knn", "mutual-kNN"),
    ("probe_recall@10", "probe: CCA, recall@10 on validation families"),
    ("text_similarity", "texts: sentence similarity, Spearman"),
    ("text_search", "texts: semantic search, nDCG@10"),
    ("text_translation", "texts: search across languages, nDCG@10"),
    ("image_knn", "images: k-NN accuracy of categories"),
    ("image_linear", "images: linear probe accuracy of categories"),
)
_MARKERS = "osD^vP*X<>"


def scatter(points: Sequence[Mapping[str, Any]], controls: Collection[str | None], outcome: str, path: Path) -> None:
    """A panel per predictor: colours are image views, markers text views, controls grey; each point is labelled."""
    images = list(dict.fromkeys(point["image"] for point in points))
    texts = list(dict.fromkeys(point["text"] for point in points))
    figure = Figure(figsize=(17, 9), layout="constrained")
    for axes, (name, title) in zip(figure.subplots(2, 4).flat, _PANELS, strict=True):
        known = [point for point in points if point.get(name) is not None]
        axes.set_title(title, fontsize=9)
        if not known:
            axes.text(0.5, 0.5, "no figures", ha="center", va="center", transform=axes.transAxes)
            axes.set_axis_off()
            continue
        for point in known:
            grey = {point["image"], point["text"]} & set(controls)
            colour = "0.6" if grey else f"C{images.index(point['image']) % 10}"
            marker = _MARKERS[texts.index(point["text"]) % len(_MARKERS)]
            axes.scatter(point[name], point[outcome], color=colour, marker=marker, s=26)
            label = f"{point['image']} {point['text']}"
            axes.annotate(label, (point[name], point[outcome]), fontsize=5, xytext=(3, 2), textcoords="offset points")
        chance = sum(point["aligned_chance@10"] for point in known) / len(known)
        axes.axhline(chance, color="0.8", linewidth=0.8, zorder=0)
        axes.set_ylabel("recall@10 after alignment (line: chance)", fontsize=8)
    save(figure, path)
