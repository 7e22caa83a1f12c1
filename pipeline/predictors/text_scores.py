"""Scores of a text encoder by itself, on the tasks of a data set of source text-tasks.

Sentence similarity is Spearman's correlation of cosine and likeness, as in STS; semantic search is nDCG@10, as in BEIR,
of each query among all documents of its task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr

from pipeline.datasets.tables import read_table
from pipeline.datasets.text_tasks import TASKS_FILE
from pipeline.evaluation.metrics import first_hit_ranks
from pipeline.features import FeatureStore
from pipeline.paths import index_folder, store_folder
from pipeline.similarity.spaces import unit_rows

DEPTH = 10
TRANSLATION = "translation search"
GROUPS = ("text_similarity", "text_search", "text_translation")


@dataclass(frozen=True)
class TextTask:
    """One task; `queries` and `documents` are text ids (n,), `scores` (n,) the likeness of the two."""

    name: str
    kind: str
    queries: np.ndarray
    documents: np.ndarray
    scores: np.ndarray

    @property
    def group(self) -> str:
        """Which mean it belongs to: similarity, search, or search across languages."""
        return "text_translation" if self.name == TRANSLATION else f"text_{self.kind}"


def read_text_tasks(dataset: str) -> list[TextTask]:
    """The tasks in the index of a data set, in their order.

    Raises:
        DataError: the table is missing or damaged.
    """
    rows = read_table(index_folder("pairs", dataset) / TASKS_FILE).to_pylist()
    tasks = []
    for name, kind in dict.fromkeys((row["task"], row["kind"]) for row in rows):
        own = [row for row in rows if row["task"] == name]
        queries, documents = (np.array([row[side] for row in own], dtype=object) for side in ("query", "document"))
        tasks.append(TextTask(name, kind, queries, documents, np.array([row["score"] for row in own])))
    return tasks


def text_scores(view: str, dataset: str, tasks: Sequence[TextTask]) -> dict[str, float | None]:
    """The score of each task, None where the view does not hold its texts (translations, of an English view).

    Raises:
        StoreError: the store is missing or damaged.
    """
    store = FeatureStore.open(store_folder("pairs", view, dataset))
    held = set(store.ids)
    return {task.name: _score(store, task) if held.issuperset(task.queries) else None for task in tasks}


def group_means(scores: Mapping[str, float | None], tasks: Sequence[TextTask]) -> dict[str, float | None]:
    """The mean of each group of tasks; None where one of them has no score."""
    means: dict[str, float | None] = {}
    for group in GROUPS:
        own = [scores[task.name] for task in tasks if task.group == group]
        means[group] = None if not own or None in own else float(np.mean([value for value in own if value is not None]))
    return means


def _score(store: FeatureStore, task: TextTask) -> float:
    if task.kind == "similarity":
        first, second = (unit_rows(store.read("pooled", list(ids))) for ids in (task.queries, task.documents))
        return similarity_score((first * second).sum(axis=1), task.scores)
    documents = list(dict.fromkeys(task.documents))
    place = {identity: number for number, identity in enumerate(documents)}
    queries = list(dict.fromkeys(task.queries))
    row = {identity: number for number, identity in enumerate(queries)}
    right = np.array([(row[q], place[d]) for q, d in zip(task.queries, task.documents, strict=True)])
    asked, given = (unit_rows(store.read("pooled", ids)) for ids in (queries, documents))
    return search_score(asked, given, right)


def similarity_score(cosine: np.ndarray, likeness: np.ndarray) -> float:
    """Spearman's correlation of (n,) and (n,); 0 where all cosines are equal."""
    return float(spearmanr(cosine, likeness).statistic) if np.ptp(cosine) > 0 else 0.0


def search_score(queries: np.ndarray, documents: np.ndarray, right: np.ndarray) -> float:
    """nDCG@10 of unit vectors, each in search of any of its right documents: 1 / log2(1 + rank).

    Args:
        right: (P, 2) int64, query and right document; every query occurs.
    """
    ranks = first_hit_ranks(queries, documents, right)
    return float(np.where(ranks <= DEPTH, 1 / np.log2(1 + ranks), 0.0).mean())
