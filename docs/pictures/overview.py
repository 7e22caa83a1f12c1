"""Draws docs/pictures/overview.png out of a finished `make repro`: how features flow, and real retrievals.

    python docs/pictures/overview.py

The retrievals are of the aligner `default`, first repeat, over the Noto emoji (Apache-2.0) of its test families, which
neither training nor validation has seen. The words are fixed here, and nothing else is chosen.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from pipeline import Aligner  # noqa: E402
from pipeline.datasets.decode import ImageTable  # noqa: E402

OUT = Path(__file__).with_name("overview.png")
STORE, INDEX = Path("data/features/pairs/vit/emoji"), Path("data/index/pairs/emoji")
QUERIES = ("something to eat", "an animal", "a musical instrument", "a person at work", "a building", "sports")
SHOWN = 5
COLOURS = {"frozen": "#d7e8f7", "stored": "#fde9c9", "trained": "#dff1dc"}


def held_out() -> set[str]:
    """Ids of Noto's pictures in the test families of the first repeat."""
    samples = pq.read_table("data/splits/samples.parquet", columns=["image_id", "dataset", "split_0"]).to_pylist()
    tested = {row["image_id"] for row in samples if row["dataset"] == "emoji" and row["split_0"] == "test"}
    images = pq.read_table(INDEX / "images.parquet", columns=["image_id", "key"]).to_pylist()
    return tested & {row["image_id"] for row in images if row["key"].startswith("noto/")}


def box(axes: Axes, x: float, y: float, text: str, kind: str, width: float = 1.5) -> None:
    axes.add_patch(FancyBboxPatch((x, y), width, 0.62, boxstyle="round,pad=0.05", fc=COLOURS[kind], ec="#555555", lw=1))
    axes.text(x + width / 2, y + 0.31, text, ha="center", va="center", fontsize=10.5)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color="#555555", lw=1.2))


def flow(axes: Axes) -> None:
    """Pictures and captions through frozen encoders into stores, once; heads, as often as one likes."""
    axes.set_xlim(-0.2, 12.0)
    axes.set_ylim(-0.35, 2.5)
    for y, kept, encoder, head in (
        (1.55, "pictures", "frozen image\nencoder", "image head"),
        (0.3, "captions", "frozen text\nencoder", "text head"),
    ):
        axes.text(0.55, y + 0.31, kept, ha="center", va="center", fontsize=11)
        box(axes, 1.6, y, encoder.replace("\\\n", "\n"), "frozen", 1.7)
        box(axes, 4.5, y, "feature store", "stored", 1.7)
        box(axes, 7.4, y, head, "trained", 1.5)
        for start, end in ((1.05, 1.5), (3.4, 4.4), (6.3, 7.3)):
            arrow(axes, (start, y + 0.31), (end, y + 0.31))
        arrow(axes, (9.0, y + 0.31), (9.75, 1.4 if y > 1 else 1.08))
    box(axes, 9.85, 0.93, "one space:\nsearch, classify", "trained", 1.9)
    for x, words in ((2.45, "once"), (8.15, "seconds, as often as you like")):
        axes.text(x, -0.2, words, ha="center", va="center", fontsize=11, style="italic")


def main() -> None:
    """Search, draw, write."""
    aligner, table, allowed = Aligner.from_pretrained("data/models/default"), ImageTable(INDEX), held_out()
    position = {identifier: row for row, identifier in enumerate(table.ids)}
    figure = plt.figure(figsize=(12, 5.6), dpi=100)
    flow(figure.add_axes((0.01, 0.56, 0.98, 0.43)))
    for number, query in enumerate(QUERIES):
        hits = [hit for hit in aligner.search(STORE, query, k=len(table.ids)) if hit.id in allowed][:SHOWN]
        left, bottom = 0.02 + 0.33 * (number % 3), 0.30 - 0.26 * (number // 3)
        figure.text(left + 0.005, bottom + 0.185, f"“{query}”", fontsize=12)
        for place, hit in enumerate(hits):
            axes = figure.add_axes((left + 0.061 * place, bottom + 0.02, 0.056, 0.15))
            axes.imshow(table.load(position[hit.id]).resize((72, 72), Image.Resampling.LANCZOS))
            axes.axis("off")
    for axes in figure.axes[:1]:
        axes.axis("off")
    figure.savefig(OUT, facecolor="white")
    plt.close(figure)
    Image.open(OUT).convert("RGB").quantize(192).save(OUT, optimize=True)
    print(f"{OUT}: {OUT.stat().st_size / 1e3:.0f} KB; {len(allowed)} held-out pictures, {SHOWN} shown of each search")


if __name__ == "__main__":
    main()
