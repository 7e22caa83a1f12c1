"""What predicts, before alignment, how well two encoders will align."""

from collections.abc import Sequence

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Content, Figure, Folded, Section, Table, Text, missing
from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.panel import Axes
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.study import ending, of_each
from pipeline.reporting.svg import drawing, tag

_UP = ("aligned_recall@10", "recall@10 after alignment")
_ACROSS = (
    ("cka", "unbiased CKA"),
    ("mutual_knn", "mutual-kNN"),
    ("probe_recall@10", "probe: recall@10"),
    ("text_similarity", "texts: similarity"),
    ("text_search", "texts: search"),
    ("image_linear", "images: linear probe"),
)
_FIGURES = ("probe_recall@10", "cka", "rbf_cka", "cknna", "mutual_knn", "image_knn", "image_linear")
_TEXTS = ("text_similarity", "text_search", "text_translation")


def predictors(run: RunData) -> Section:
    """Scatter plots of every predictor against recall after alignment, and what each explains, of every study."""
    blocks = of_each(
        run.settings.predictors,
        run.predictors,
        _study,
        lambda name: missing(f"The study {name} has not been run.", f"dvc repro predictors@{name}"),
    )
    return Section("predictors", "What predicts how well two encoders align?", "Why CKA?", blocks)


def _study(result: Node) -> list[Block]:
    points = result.nodes("points")
    blocks: list[Block] = []
    if points:
        views = sorted({point["image"].text() for point in points})
        control = result.optional("control")
        colours = {view: "control" if view == control else f"s{place % 6}" for place, view in enumerate(views)}
        charts = [chart for along in _ACROSS if (chart := _scatter(points, along, colours)) is not None]
        caption = "Each point is a layer of an image encoder with a text encoder; its name shows under the pointer."
        blocks += [Figure(charts, caption, [(colours[view], view) for view in views]), _explained(result)]
        blocks.append(Folded(f"All {len(points)} pairs of spaces", [_pairs(result, points)]))
    else:
        blocks.append(Text("The study was run and has no pairs: there was nothing to align.", "missing"))
    return blocks + ending(result)


def _scatter(points: Sequence[Node], along: tuple[str, str], colours: dict[str, str]) -> Markup | None:
    known = [point for point in points if point.get(along[0]) is not None]
    if not known:
        return None
    x, y = ([point[name].number() for point in known] for name in (along[0], _UP[0]))
    axes = Axes(along[1], along[1], _UP[1], width=350, height=260)
    across, up = axes.scales(x, y, zero=False)
    dots = [
        tag(
            "circle", tag("title", point["name"].text()), cx=across(a), cy=up(b), r=3.2,
            class_=f"point {colours[point['image'].text()]}",
        )
        for point, a, b in zip(known, x, y, strict=True)
    ]  # fmt: skip
    alt = f"{_UP[1]} against {along[1]}, {len(known)} points"
    return drawing(axes.width, axes.height, alt, axes.frame(across, up) + dots)


def _explained(result: Node) -> Table:
    columns = ["predictor", "encoders", "scope", "over", "Spearman", "95 % interval", "p", "size, width controlled"]
    columns += ["lost by its choice", "lost by a random one"]
    rows: list[list[Content]] = []
    for entry in result.nodes("correlations"):
        if entry.get("spearman") is None:
            continue
        layers = entry.get("layers")
        over = f"{entry['images'].value} x {entry['texts'].value}" if layers is None else f"{layers.value} layers"
        rows.append([
            entry["predictor"].text(),
            entry["points"].text(),
            entry["scope"].text(),
            over,
            number(entry["spearman"], "signed3"),
            interval(entry.get("ci"), "signed3") or "–",
            number(entry.get("p"), "fixed4"),
            number(entry.get("partial"), "signed3"),
            number(entry.get("regret"), "fixed3"),
            number(entry.get("regret_chance"), "fixed3"),
        ])  # fmt: skip
    caption = (
        "Spearman of each predictor with recall@10 after alignment; intervals resample encoders, p permutes them. "
        "The last columns: the share of the best recall that is lost by taking the encoder that the predictor puts "
        "first. Scopes with fewer than three encoders are left out."
    )
    return Table(caption, result.file.as_posix(), columns, rows)


def _pairs(result: Node, points: Sequence[Node]) -> Table:
    columns = ["pair", "recall@10", "chance", "probe", "CKA", "RBF CKA", "CKNNA", "mutual-kNN", "image k-NN"]
    columns += ["image linear", "text similarity", "text search", "across languages"]
    rows: list[list[Content]] = []
    for point in points:
        line: list[Content] = [point["name"].text(), number(point[_UP[0]], "fixed3")]
        line.append(number(point["aligned_chance@10"], "fixed3"))
        line += [number(point.get(name), "fixed3") for name in (*_FIGURES, *_TEXTS)]
        rows.append(line)
    return Table("What is known of each pair of spaces.", result.file.as_posix(), columns, rows)
