"""The dozen figures that `dvc metrics show` and `dvc exp show` print, and the plot of them."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from pipeline.config import ReportSettings
from pipeline.files import write_csv, write_json
from pipeline.reporting.inputs import Node
from pipeline.reporting.leads import Lead, Leads
from pipeline.reporting.names import key_of
from pipeline.reporting.run_data import RunData

FIGURES = 12
WIDTH = 200  # characters of the line that `dvc metrics show` prints
_GAP = 4  # between its columns
COLUMNS = ("figure", "row", "value", "ci_low", "ci_high")
_SHORT = (
    (re.compile(r"^([it]2[it])_recall@(\d+)$"), r"\1@\2"),
    (re.compile(r"^(\w+)_(?:mean_per_class|top1)_accuracy$"), r"\1"),
)


def write_headline(settings: ReportSettings, metrics: Path, plot: Path) -> None:
    """Write the showcase's headline figures as JSON, and the same with its control and chance as CSV.

    The JSON fits a line of a wide terminal: measures that the report leads with, the first of each task before the
    second of any, at most a dozen with how many of all of them are above chance and beat the control. Where there are
    few, chance is beside each.

    Args:
        metrics: the JSON file, `{data set: {figure: value}}`.
        plot: the CSV file, a row for each figure and each of showcase, control, what it is compared with, and chance.

    Raises:
        DataError: a result is damaged.
    """
    run = RunData(settings)
    found = Leads(run)
    leads = [lead for lead in found.leads if settings.showcase in lead.rows]
    names = _named(leads)
    write_json(_figures(leads, names, found, settings), metrics)
    write_csv(_points(leads, names, settings), COLUMNS, plot)


def _figures(
    leads: list[Lead], names: dict[str, tuple[str, str]], found: Leads, settings: ReportSettings
) -> dict[str, Any]:
    showcase = str(settings.showcase)
    control = settings.controls.get(showcase)
    rows = [(names[_place(lead)], lead.rows[showcase]) for lead in _by_turns(leads)]
    verdicts = [found.verdict(node) for lead in leads for node in lead.differences
                if (node["aligner"].text(), node["versus"].text()) == (showcase, control)]  # fmt: skip
    summed = {"> chance": sum(_above_chance(row) for _, row in rows)}
    summed |= {"> control": verdicts.count(1)} if verdicts else {}
    with_chance = 2 * len(rows) + len(summed) <= FIGURES
    figures: dict[str, Any] = {}
    width = sum(len(name) + _GAP for name in ("data/headline.json", *summed))
    for (dataset, name), row in rows[: FIGURES - len(summed)]:
        entries = {name: row["value"].number()}
        entries |= {f"{name} chance": row["chance"].number()} if with_chance else {}
        width += sum(len(f"{dataset}.{entry}") + _GAP for entry in entries)
        if width > WIDTH:
            break
        figures.setdefault(dataset, {}).update({entry: round(value, 4) for entry, value in entries.items()})
    return figures | (summed if rows else {})


def _points(leads: list[Lead], names: dict[str, tuple[str, str]], settings: ReportSettings) -> list[dict[str, Any]]:
    showcase = str(settings.showcase)
    points: list[dict[str, Any]] = []
    for lead in leads:
        figure = " ".join(names[_place(lead)])
        pairs = [(node["aligner"].text(), node["versus"].text()) for node in lead.differences]
        others = [versus for aligner, versus in pairs if aligner == showcase and versus in lead.rows]
        for name in dict.fromkeys((showcase, *others)):
            row = lead.rows[name]
            ends = [end.number() for end in row["ci"]] if row.get("ci") is not None else [None, None]
            points.append(dict(zip(COLUMNS, (figure, name, row["value"].number(), *ends), strict=True)))
        chance = lead.rows[showcase]["chance"].number()
        points.append(dict(zip(COLUMNS, (figure, "chance", chance, None, None), strict=True)))
    return points


def _by_turns(leads: list[Lead]) -> list[Lead]:
    """The first of each task, then the second of each, and so on."""
    turns = Counter[str]()
    turn = []
    for place, lead in enumerate(leads):
        turn.append((turns[lead.task], place))
        turns[lead.task] += 1
    return [leads[place] for _, place in sorted(turn)]


def _above_chance(row: Node) -> bool:
    ends = row.get("ci")
    return ends is not None and ends[0].number() > row["chance"].number()


def _place(lead: Lead) -> str:
    return next(iter(lead.rows.values())).source


def _named(leads: list[Lead]) -> dict[str, tuple[str, str]]:
    """Data set and short name of each figure; names that would fall together stay whole."""
    short = {_place(lead): (lead.key[0], _short(lead)) for lead in leads}
    many = {name for name, count in Counter(short.values()).items() if count > 1}
    return {
        _place(lead): (lead.key[0], "_".join(part for part in lead.key[1:] if part))
        if short[_place(lead)] in many
        else short[_place(lead)]
        for lead in leads
    }


def _short(lead: Lead) -> str:
    _, name, _, code, tokens = key_of(next(iter(lead.rows.values())))
    for pattern, words in _SHORT:
        name = pattern.sub(words, name)
    other = "" if code in ("", "en") else "others" if code == "average" else code
    return " ".join(part for part in (name, other, tokens) if part)
