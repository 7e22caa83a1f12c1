"""From rows that are done to tables with intervals, the JSON and the plot."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.few_study import synthetic
from benchmarks.few_study.hits import hits_of
from benchmarks.few_study.real import Answers, rows
from benchmarks.few_study.synthetic import COMPUTED, SETTINGS, TRAINED
from benchmarks.recipe_study.bundle import Bundle
from benchmarks.recipe_study.rows import CONTROLS, DEFAULT
from pipeline.similarity.plots import save

CAPTIONS_ALONE = "captions alone"
CEILINGS = ("ceiling", "cosine of the latents")
_DASHES = {True: "-", False: "--"}
Row = dict[str, Any]


class Report:
    """All that is done.

    Args:
        parts: rows of `real`, `captions` and `synthetic`; the features of the default are read for the first two.
    """

    def __init__(self, parts: Mapping[str, Sequence[Row]]) -> None:
        bundle = Bundle.of_project() if parts["real"] or parts["captions"] else None
        self._answers = None if bundle is None else Answers(bundle)
        self._order = [] if bundle is None else list(rows(bundle.meta["default"]))
        self.real = [] if self._answers is None else self._of_pairs(parts["real"], DEFAULT, "row")
        self.captions = [] if self._answers is None else self._of_pairs(parts["captions"], CAPTIONS_ALONE, "added")
        self.synthetic = list(_synthetic(parts["synthetic"]))

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        chance = None if self._answers is None else self._answers.chance
        return {
            "protocol": {
                "real": f"families for development ({self._families()} of them), five repeats, chance {chance}",
                "synthetic": f"{synthetic.TESTED} queries and candidates, both ways; intervals over pairs",
            },
            "chance": chance,
            "settings": {name: setting.as_dict() for name, setting in SETTINGS.items()},
            "real": self.real,
            "captions": self.captions,
            "synthetic": self.synthetic,
        }

    def markdown(self) -> str:
        """The tables of the documentation."""
        found = []
        if self.real:
            sizes = [(size, f"{self._pairs(size)} pairs") for size in _sizes(self.real)]
            found.append(_table(self.real, self._order, sizes, "row", ratio=True))
        for head in dict.fromkeys(row["row"] for row in self.captions):
            of_head = [row for row in self.captions if row["row"] == head]
            sizes = [(size, f"{self._pairs(size)} pairs") for size in _sizes(of_head)]
            names = list(dict.fromkeys(row["added"] for row in of_head))
            found.append(f"**{head}**\n\n" + _table(of_head, names, sizes, "added", ratio=True))
        for setting in dict.fromkeys(row["setting"] for row in self.synthetic):
            of_setting = [row for row in self.synthetic if row["setting"] == setting]
            sizes = [(size, f"{size:,} pairs") for size in _sizes(of_setting)]
            top = {row["row"]: row["recall@1"] for row in of_setting if row["row"] in CEILINGS}
            share = next(row["linear_share"] for row in of_setting if row["row"] in CEILINGS)
            title = f"**{setting}** (best possible {top['ceiling']:.3f}, linear share {share:.2f})\n\n"
            found.append(title + _table(of_setting, [*COMPUTED, *TRAINED], sizes, "row", ratio=False))
        return "\n\n".join(found)

    def plot(self, path: Path) -> None:
        """The curves: embedded pairs, then every synthetic setting beside its ceiling."""
        panels: list[tuple[str, list[Row]]] = [("embedded pairs", self.real)] if self.real else []
        settings = dict.fromkeys(row["setting"] for row in self.synthetic)
        panels += [(name, [row for row in self.synthetic if row["setting"] == name]) for name in settings]
        if not panels:
            return
        names = list(dict.fromkeys(row["row"] for _, of in panels for row in of if row["row"] not in CEILINGS))
        colours = {name: f"C{number % 10}" for number, name in enumerate(names)}
        figure = Figure(figsize=(3.5 * min(3, len(panels)), 2.9 * -(-len(panels) // 3)), layout="constrained")
        grid = np.atleast_1d(figure.subplots(-(-len(panels) // 3), min(3, len(panels)), squeeze=False)).flat
        for axes, (title, of) in zip(grid, panels, strict=False):
            self._panel(axes, title, of, colours)
        for axes in list(grid)[len(panels) :]:
            axes.set_axis_off()
        handles = [
            figure.axes[0].plot([], [], color=colours[name], linestyle=_dash(name), marker=".", label=name)[0]
            for name in names
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=7, frameon=False)
        save(figure, path)

    def _panel(self, axes: Any, title: str, of: list[Row], colours: Mapping[str, str]) -> None:
        axes.set_title(title, fontsize=9)
        for name in dict.fromkeys(row["row"] for row in of if row["row"] not in CEILINGS):
            points = sorted((self._pairs(row["size"]), row["recall@1"], *row["ci"]) for row in of if row["row"] == name)
            x, y, low, high = np.array(points, dtype=float).T
            axes.plot(x, y, color=colours[name], linestyle=_dash(name), marker=".", markersize=4, linewidth=1)
            axes.fill_between(x, low, high, color=colours[name], alpha=0.06, linewidth=0)
        for row in of:
            if row["row"] == "ceiling":
                axes.axhline(row["recall@1"], color="black", linewidth=0.8, linestyle=":")
        if title == "embedded pairs" and self._answers is not None:
            axes.axhline(self._answers.chance, color="0.6", linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xlabel("training pairs", fontsize=8)
        axes.set_ylabel("R@1", fontsize=8)
        axes.tick_params(labelsize=7)

    def _of_pairs(self, parts: Sequence[Row], baseline: str, key: str) -> list[Row]:
        """Figures of rows of embedded pairs, each compared with the baseline of its size and head."""
        assert self._answers is not None
        same = {(one["size"], one["row"] if key == "added" else ""): one for one in parts if one[key] == baseline}
        found = []
        for one in parts:
            other = same.get((one["size"], one["row"] if key == "added" else ""))
            row = {name: one[name] for name in ("row", "added", "size") if name in one}
            row["pairs"] = [part["pairs"] for part in one["parts"]]
            row["fitted_pairs"] = [part["fitted_pairs"] for part in one["parts"]]
            row |= self._answers.figures(one["parts"], None if other is None or other is one else other["parts"])
            row["validation"] = float(np.mean([part["validation"] for part in one["parts"]]))
            row["seconds"] = round(one["seconds"] / len(one["parts"]), 2)
            row["trials"] = [part["trials"] for part in one["parts"]]
            found.append(row)
        return found

    def _pairs(self, size: int) -> int:
        """How many pairs a size stands for: 0 is all, of which repeats have slightly different numbers."""
        if size:
            return size
        return round(float(np.mean([row["pairs"] for row in (*self.real, *self.captions) if row["size"] == 0])))

    def _families(self) -> int | None:
        return None if self._answers is None else self._answers.boot.families


def _synthetic(parts: Sequence[Row]) -> Iterable[Row]:
    """Figures of every setting, row and size over its worlds; each trained row compared with the best computed one."""
    by_key: dict[tuple[str, str, int], dict[int, Row]] = {}
    for one in parts:
        by_key.setdefault((one["setting"], one["row"], one.get("size", 0)), {})[one["seed"]] = one
    value = {key: float(np.mean([hits_of(one["hits"]).mean() for one in of.values()])) for key, of in by_key.items()}
    for (setting, name, size), of in by_key.items():
        computed = [key for key in by_key if key[0] == setting and key[2] == size and key[1] in COMPUTED]
        best = max(computed, key=value.__getitem__) if name in TRAINED and computed else None
        seeds = sorted(set(of) & set(by_key[best])) if best else sorted(of)
        other = [hits_of(by_key[best][seed]["hits"]) for seed in seeds] if best else None
        row: Row = {"setting": setting, "row": name, "size": size, "worlds": len(seeds)}
        row |= synthetic.figures([hits_of(of[seed]["hits"]) for seed in seeds], other)
        row |= {"versus": best[1]} if best else {}
        row |= {key: of[seeds[0]][key] for key in ("linear_share", "sample") if key in of[seeds[0]]}
        if "seconds" in of[seeds[0]]:
            row["seconds"] = round(float(np.mean([of[seed]["seconds"] for seed in seeds])), 2)
            row["trials"] = [of[seed]["trials"] for seed in seeds]
        yield row


def _table(of: list[Row], names: Sequence[str], sizes: Sequence[tuple[int, str]], key: str, ratio: bool) -> str:
    """A line per name and a column per size: value (interval), and a star where it differs from what it is held to."""
    head = ["recipe" if key == "row" else "trained on", *(title for _, title in sizes)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    by = {(row[key], row["size"]): row for row in of}
    for name in names:
        cells = [_cell(by.get((name, size)), ratio) for size, _ in sizes]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Row | None, ratio: bool) -> str:
    if row is None:
        return ""
    low, high = row["ci"]
    text = f"{row['recall@1']:.3f} ({low:.3f}-{high:.3f})"
    if (interval := row.get("difference_ci")) is None:
        return text
    star = "*" if interval[0] > 0 or interval[1] < 0 else ""
    return f"{text}, {row['ratio']:.2f}{star}" if ratio and row.get("ratio") else f"{text}{star}"


def _sizes(of: Iterable[Row]) -> list[int]:
    """In order, all pairs last."""
    return sorted({row["size"] for row in of if "seconds" in row}, key=lambda size: size or np.inf)


def _dash(name: str) -> str:
    return _DASHES[name in COMPUTED or name in (DEFAULT, f"{DEFAULT}, values chosen per repeat", CONTROLS[DEFAULT])]
