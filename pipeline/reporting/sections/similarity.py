"""How alike the frozen spaces are before any training."""

from markupsafe import Markup

from pipeline.reporting.blocks import Block, Content, Figure, Folded, Section, Table, Text, missing
from pipeline.reporting.charts import heat_map
from pipeline.reporting.inputs import Node
from pipeline.reporting.numbers import interval, number
from pipeline.reporting.run_data import RunData
from pipeline.reporting.sections.study import ending, of_each

_MEASURES = (("cka", "unbiased linear CKA"), ("mutual_knn", "mutual-kNN overlap"))


def similarity(run: RunData) -> Section:
    """Heat maps, best pairs and ranking of every comparison."""
    blocks = of_each(
        run.settings.compare,
        run.similarity,
        _comparison,
        lambda name: missing(f"The comparison {name} has not been made.", f"dvc repro compare@{name}"),
    )
    return Section("similarity", "Similarity of the encoders before training", "Similarity", blocks)


def _comparison(result: Node) -> list[Block]:
    pairs = result.nodes("pairs")
    blocks: list[Block] = []
    if pairs:
        control = result.optional("control")
        maps = [_map(pairs, key, title, control) for key, title in _MEASURES]
        caption = "Rows: image encoder, layer (counted from 1), pooling; the control in italics. Columns: text encoder."
        blocks += [
            Figure(maps, caption),
            _best(result),
            Folded(f"All {len(pairs)} pairs, ranked", [_ranking(result, pairs)]),
        ]
    else:
        blocks.append(Text("The comparison was run and has no pairs: there was nothing to compare.", "missing"))
    return blocks + ending(result)


def _name(pair: Node) -> str:
    return f"{pair['image'].text()} · {_layer(pair)} · {pair['pooling'].text()}"


def _layer(pair: Node) -> str:
    value = pair["layer"].value
    return f"layer {value}" if isinstance(value, int) and value >= 0 else "last" if value == -1 else str(value)


def _map(pairs: list[Node], key: str, title: str, control: str) -> Markup:
    columns = sorted({pair["text"].text() for pair in pairs})
    by_row: dict[str, dict[str, Node]] = {}
    places: dict[str, tuple[bool, str, int]] = {}
    for pair in pairs:
        name = _name(pair)
        by_row.setdefault(name, {})[pair["text"].text()] = pair
        image, layer = pair["image"].text(), pair["layer"].value
        places[name] = (image == control, image, layer if isinstance(layer, int) else 0)
    names = sorted(by_row, key=lambda name: (*places[name], name))
    values = [
        [by_row[name][column][key].number() if column in by_row[name] else None for column in columns] for name in names
    ]
    alt = f"{title} of every candidate pair of encoders"
    return heat_map(names, columns, values, alt, title, [places[name][0] for name in names])


def _best(result: Node) -> Table:
    """The best layer and pooling of each pair of views by each measure, beside the control's best."""
    caption = (
        "The best layer and pooling of each pair of encoders by either measure, beside the best of the control with "
        "the same texts. p: against exchanged families of captions, with the maximum over layers and poolings taken in "
        "each permutation; the largest of the repeats."
    )
    columns = ["image", "text", "best by CKA", "CKA", "control", "p"]
    columns += ["best by mutual-kNN", "mutual-kNN", "control", "chance", "p"]
    rows: list[list[Content]] = []
    for entry in result.nodes("best"):
        knn = entry.get("best_by_mutual_knn") or entry
        rows.append([
            entry["image"].text(),
            entry["text"].text(),
            f"{_layer(entry)} · {entry['pooling'].text()}",
            number(entry["cka"], "fixed3"),
            number(entry.get("control_cka"), "fixed3"),
            number(entry.get("cka_max_p"), "fixed4"),
            f"{_layer(knn)} · {knn['pooling'].text()}",
            Markup("{} {}").format(number(knn["mutual_knn"], "fixed3"), interval(knn.get("mutual_knn_ci"), "fixed3")),
            number(entry.get("control_mutual_knn"), "fixed3"),
            number(result["chance"].get("mutual_knn"), "fixed3"),
            number(knn.get("mutual_knn_max_p"), "fixed4"),
        ])  # fmt: skip
    return Table(caption, result.file.as_posix(), columns, rows, headers=2)


def _ranking(result: Node, pairs: list[Node]) -> Table:
    columns = ["rank", "image", "text", "CKA", "sd", "null 95 %", "biased CKA", "mutual-kNN", "sd", "null 95 %"]
    forms = ("cka", "cka_sd", "cka_null_q95", "cka_biased", "mutual_knn", "mutual_knn_sd", "mutual_knn_null_q95")
    rows: list[list[Content]] = []
    for pair in pairs:
        line: list[Content] = [number(pair.get("rank"), "integer"), _name(pair), pair["text"].text()]
        line += [number(pair.get(name), "fixed3") for name in forms]
        rows.append(line)
    caption = "By unbiased CKA; sd over repeats; the 95th percentile with families of captions exchanged."
    return Table(caption, result.file.as_posix(), columns, rows, headers=3)
