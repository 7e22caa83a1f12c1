"""A result as a table to read in a terminal."""

from pipeline.evaluation.results import Row, TaskResult


def render(result: TaskResult, control: str) -> str:
    """One line per data set, metric and prompt set; chance and the control stand before the other aligners.

    A star marks a difference from the control whose interval excludes zero.
    """
    aligners = sorted({row.aligner for row in result.rows}, key=lambda name: (name != control, name))
    lines: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in result.rows:
        lines.setdefault((row.dataset, row.metric, row.prompt_set or ""), {})[row.aligner] = row
    starred = {(d.aligner, d.dataset, d.metric, d.prompt_set or "") for d in result.differences if d.excludes_zero}
    cells = [["data set", "metric", "prompts", "chance", *aligners]]
    for key, by_aligner in lines.items():
        chance = f"{next(iter(by_aligner.values())).chance:.4f}"
        cells.append([*key, chance, *(_cell(by_aligner.get(a), (a, *key) in starred) for a in aligners)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    notes = [f"* differs from {control}: the 95 % interval of the paired difference excludes zero"]
    return "\n".join([*text, *notes, *(f"left out: {line}" for line in result.left_out)])


def _cell(row: Row | None, star: bool) -> str:
    if row is None:
        return "-"
    interval = f" [{row.ci[0]:.4f}, {row.ci[1]:.4f}]" if row.ci else ""
    return f"{row.value:.4f}{interval}{' *' if star else ''}"
