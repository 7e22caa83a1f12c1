"""A result as a table to read in a terminal."""

from pipeline.evaluation.results import Difference, Row, TaskResult


def render(result: TaskResult, control: str | None) -> str:
    """One line per data set, metric and condition; chance and the control come before the other aligners.

    Prompts are shown where there are any, languages and token lengths where they vary. A star marks a difference from
    the control whose interval excludes zero, a caret one from another aligner.
    """
    aligners = sorted({row.aligner for row in result.rows}, key=lambda name: (name != control, name))
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
        if d.excludes_zero:
            marks[key(d), d.aligner] = marks.get((key(d), d.aligner), "") + ("*" if d.versus == control else "^")
    cells = [[*columns, "chance", *aligners]]
    for place, by_aligner in lines.items():
        chance = f"{next(iter(by_aligner.values())).chance:.4f}"
        cells.append([*place, chance, *(_cell(by_aligner.get(a), marks.get((place, a), "")) for a in aligners)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    notes = []
    if control is not None:
        notes.append(f"* differs from {control}: the 95 % interval of the paired difference excludes zero")
    others = sorted({f"{d.aligner} from {d.versus}" for d in result.differences if d.versus != control})
    if others:
        likewise = "likewise" if notes else "the 95 % interval of the paired difference excludes zero:"
        notes.append(f"^ {likewise} {', '.join(others)}")
    return "\n".join([*text, *notes, *(f"left out: {line}" for line in result.left_out)])


def _cell(row: Row | None, marks: str) -> str:
    if row is None:
        return "-"
    interval = f" [{row.ci[0]:.4f}, {row.ci[1]:.4f}]" if row.ci else ""
    return f"{row.value:.4f}{interval}{' ' + marks if marks else ''}"
