"""The paper's two toy studies."""

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Content, Figure, Section, Table, Text, missing
from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.panel import Axes
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.study import ending, of_each
from pipeline.reporting.svg import drawing, tag

_TITLES = {"synthetic": "Synthetic embeddings", "real": "Real encoders"}
_ACROSS = (("cka", "unbiased CKA"), ("mutual_knn", "mutual-kNN"))
_UP = (
    ("loss", "CLIP loss, training rows"),
    ("heldout_loss", "least CLIP loss, held-out rows"),
    ("heldout_recall", "recall@1, held-out rows"),
)


def toy(run: RunData) -> Section:
    """Scatter plots of similarity against ease of alignment, and their rank correlations, of every toy study."""
    blocks = of_each(
        run.settings.toy,
        run.toy,
        _study,
        lambda name: missing(f"The toy study {name} has not been run.", f"dvc repro toy@{name}"),
    )
    return Section("toy", "Does similarity predict easy alignment?", "Toy studies", blocks)


def _study(result: Node) -> list[Block]:
    points = result.nodes("points")
    views = sorted({point["image"].text() for point in points if point.get("image") is not None})
    control = result.optional("control")
    colours = {view: "control" if view == control else f"s{place % 6}" for place, view in enumerate(views)}
    blocks: list[Block] = []
    for study, title in _TITLES.items():
        chosen = [point for point in points if point["study"].text() == study]
        if not chosen:
            blocks.append(Text(f"{title}: the study has no points.", "missing"))
            continue
        charts = [_scatter(chosen, across, up, title, colours) for up in _UP for across in _ACROSS]
        caption = (
            "Each point is a pair of spaces: its similarity, and the CLIP loss that a head reaches (lower is easier)."
        )
        caption += _chance(chosen[0])
        legend = [(colours[view], view) for view in views] if study == "real" else []
        blocks.append(Figure(charts, caption, legend))
    if (correlations := result.get("correlations")) is not None:
        blocks.append(_table(correlations))
    return blocks + ending(result, "correlation")


def _scatter(
    points: Sequence[Node], along: tuple[str, str], upwards: tuple[str, str], title: str, colours: dict[str, str]
) -> Markup:
    """One point per pair of spaces and seed; `along` and `upwards` are key and name of the axes."""
    x = [point[along[0]].number() for point in points]
    y = [point[upwards[0]].number() for point in points]
    axes = Axes(title, along[1], upwards[1], width=350, height=260)
    across, up = axes.scales(x, y, zero=False)
    dots = [
        tag("circle", cx=across(a), cy=up(b), r=3.2, class_=f"point {colours.get(point.optional('image'), 's0')}")
        for point, a, b in zip(points, x, y, strict=True)
    ]
    alt = f"{title}: {upwards[1]} against {along[1]}, {len(points)} points"
    return drawing(axes.width, axes.height, alt, axes.frame(across, up) + dots)


def _chance(point: Node) -> str:
    """What a head reaches that tells nothing apart."""
    levels = [point.get(f"chance_{name}") for name in ("loss", "heldout_loss", "heldout_recall")]
    loss, held, recall = (None if level is None else level.number() for level in levels)
    if loss is None or held is None or recall is None:
        return ""
    return (
        f" A head that tells nothing apart has a loss of {loss:.2f} (ln of the batch size; {held:.2f} on held-out "
        f"rows) and a recall of {recall:.3f}."
    )


def _table(correlations: Node) -> Table:
    """Every leaf of the correlations that holds a Spearman coefficient."""
    rows: list[list[Content]] = []
    for path, node in _leaves(correlations, ()):
        rows.append(
            [
                ", ".join(path),
                number(node.get("spearman"), "signed3"),
                interval(node.get("ci"), "signed3") or "–",
                number(node.get("p"), "fixed4"),
                number(node.get("n"), "integer"),
            ]
        )
    caption = (
        "Spearman rank correlation of similarity with the loss or recall. 95 % bootstrap interval: of points, or of "
        "encoders for real spaces, which have no p-value of permutations."
    )
    return Table(caption, correlations.file.as_posix(), ["study", "Spearman", "95 % interval", "p", "points"], rows)


def _leaves(node: Node, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Node]]:
    if isinstance(node.value, list):
        return [leaf for entry in node for leaf in _leaves(entry, path)]
    if not isinstance(node.value, dict):
        return []
    if "spearman" in node.value:
        names = tuple(str(v.value).replace("_", " ") for k, v in node.entries() if isinstance(v.value, str))
        return [(path + names, node)]
    return [leaf for key, inner in node.entries() for leaf in _leaves(inner, (*path, key.replace("_", " ")))]
