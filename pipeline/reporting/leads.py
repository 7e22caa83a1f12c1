"""The figures that the page leads with, and what their comparisons establish, corrected for their number."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from pipeline.config import TASKS, Headline
from pipeline.reporting.inputs import Node
from pipeline.reporting.names import key_of, language, metric
from pipeline.reporting.results import Key, by_key
from pipeline.reporting.run_data import RunData
from pipeline.statistics import holm

LEVEL = 0.05  # of all headline comparisons together


@dataclass(frozen=True)
class Lead:
    """A figure that the page leads with.

    Attributes:
        rows: by aligner.
        differences: between aligners, of the same key.
        beside: of each further metric that is shown beside it, the rows by aligner.
    """

    task: str
    key: Key
    rows: dict[str, Node]
    differences: list[Node]
    beside: dict[str, dict[str, Node]]

    @property
    def measure(self) -> str:
        """Data set, metric, and the language or length of the texts where it matters, in words."""
        dataset, name, _, code, tokens = self.key
        words = [dataset, metric(name)]
        if code == "average":
            words.append("other languages")
        elif code not in ("", "en"):
            words.append(language(code))
        return ", ".join([*words, *([f"{tokens} tokens"] if tokens else [])])


class Leads:
    """The headline figures of a run; verdicts are corrected for the number of their comparisons by Holm's method."""

    def __init__(self, run: RunData) -> None:
        self.leads = [lead for task, result in run.results.items() for lead in _of_task(task, result)]
        self.comparisons = sum(len(result.nodes("differences")) for result in run.results.values())
        tested = [node for lead in self.leads for node in lead.differences if node.get("p") is not None]
        self._corrected = dict(
            zip([node.source for node in tested], holm([node["p"].number() for node in tested]), strict=True)
        )

    @cached_property
    def headline_comparisons(self) -> int:
        """How many differences of headline figures have a p-value."""
        return len(self._corrected)

    def verdict(self, node: Node) -> int:
        """1: better, -1: worse, 0: not established after the correction. Headline metrics are better the higher."""
        if not node["established"].value or self._corrected.get(node.source, 1.0) >= LEVEL:
            return 0
        return 1 if node["difference"].number() > 0 else -1


def leading_first(task: str, keys: Sequence[Key]) -> list[Key]:
    """The keys with those of the headline metrics before the other ones, and what is shown beside them next."""
    headline = TASKS[task].headline
    suffixes = (*headline.metrics[:1], *headline.beside)

    def place(key: Key) -> int:
        return next((n for n, suffix in enumerate(suffixes) if key[1].endswith(suffix)), len(suffixes))

    order = {key: number for number, key in enumerate(dict.fromkeys((key[0], *key[2:]) for key in keys))}
    return sorted(keys, key=lambda key: (order[key[0], *key[2:]], place(key)))


def _of_task(task: str, result: Node) -> list[Lead]:
    """The figures that sum up a task, on every data set."""
    headline, differences = TASKS[task].headline, result.nodes("differences")
    grouped = by_key(result.nodes("rows"))
    chosen = []
    for key in headline_keys(headline, list(grouped)):
        suffix = next(suffix for suffix in headline.metrics if key[1].endswith(suffix))
        stem = key[1].removesuffix(suffix)
        beside = {other: grouped.get((key[0], stem + other, *key[2:]), {}) for other in headline.beside}
        own = [node for node in differences if key_of(node) == key]
        chosen.append(Lead(task, key, grouped[key], own, {name: rows for name, rows in beside.items() if rows}))
    return chosen


def headline_keys(headline: Headline, keys: Sequence[Key]) -> list[Key]:
    """The keys that the rule of a task picks."""
    suffix = next((one for one in headline.metrics if any(key[1].endswith(one) for key in keys)), "")
    last_prompts = dict(list(dict.fromkeys((key[0], key[2]) for key in keys)))  # of each data set
    most_tokens: dict[str, int] = {}
    for dataset, _, _, _, tokens in keys:
        most_tokens[dataset] = max(int(tokens or 0), most_tokens.get(dataset, 0))
    return [
        key
        for key in keys
        if suffix
        and key[1].endswith(suffix)
        and (headline.languages is None or key[3] in headline.languages)
        and (not headline.last_prompts or key[2] == last_prompts[key[0]])
        and (not headline.most_tokens or key[4] == str(most_tokens[key[0]]))
    ]
