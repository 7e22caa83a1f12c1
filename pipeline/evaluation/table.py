"""A result as a table to read in a terminal."""

from collections.abc import Mapping

from pipeline.evaluation.results import Difference, Row, TaskResult


def render(result: TaskResult) -> str:
    """One line per data set, metric and condition; chance and the controls come before the other aligners.

    Prompts are shown where there are any, languages and token lengths where they vary, and the figure of the most
    frequent class where there are classes. A star marks an established difference from the row's own control, a caret
    one from another aligner.
    """
    controls = set(result.controls.values())
    aligners = sorted({row.aligner for row in result.rows}, key=lambda name: (name not in controls, name))
    classes = any(row.most_frequent is not None for row in result.rows)
    columns = {"data set": "dataset", "metric": "metric"}
    for title, name, least in (("prompts", "prompt_set", 1), ("language", "language", 2), ("tokens", "tokens", 2)):
        values = {getattr(row, name) for row in result.rows}
        if len(values) >= least and values != {None}:
            columns[title] = name

    def key(item: Row | Difference) -> tuple[str, ...]:
        values = (getattr(item, name) for name in columns.values())
        return tuple("" if value is None else str(value) for value in values)

    lines: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in result.rows:
        lines.setdefault(key(row), {})[row.aligner] = row
    marks: dict[tuple[tuple[str, ...], str], str] = {}
    for d in result.differences:
        if d.established:
            mark = "*" if d.versus == result.controls.get(d.aligner) else "^"
            marks[key(d), d.aligner] = marks.get((key(d), d.aligner), "") + mark
    cells = [[*columns, "chance", *(["most frequent"] if classes else []), *aligners]]
    for place, by_aligner in lines.items():
        first = next(iter(by_aligner.values()))
        frequent = "-" if first.most_frequent is None else f"{first.most_frequent:.4f}"
        levels = [f"{first.chance:.4f}", *([frequent] if classes else [])]
        cells.append([*place, *levels, *(_cell(by_aligner.get(a), marks.get((place, a), "")) for a in aligners)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    notes = []
    rule = "the 95 % interval of the paired difference excludes zero, and that of the better one chance"
    if controls:
        notes.append(f"* differs from its control ({_named(result.controls)}): {rule}")
    others = sorted(
        {f"{d.aligner} from {d.versus}" for d in result.differences if d.versus != result.controls.get(d.aligner)}
    )
    if others:
        notes.append(f"^ {'likewise' if notes else f'{rule}:'} {', '.join(others)}")
    notes += result.caveats
    return "\n".join([*text, *notes, *(f"left out: {line}" for line in result.left_out)])


def _cell(row: Row | None, marks: str) -> str:
    if row is None:
        return "-"
    interval = f" [{row.ci[0]:.4f}, {row.ci[1]:.4f}]" if row.ci else ""
    return f"{row.value:.4f}{interval}{' ' + marks if marks else ''}"


def _named(controls: Mapping[str, str]) -> str:
    """Each control with the rows that it is the control of, or the control alone where it is that of all."""
    names = dict.fromkeys(controls.values())
    if len(names) == 1:
        return next(iter(names))
    return "; ".join(f"{control} of {', '.join(n for n, c in controls.items() if c == control)}" for control in names)
