"""Zero-shot classifiers: class names in templates become one vector per class."""

from collections.abc import Sequence

import numpy as np

from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.paths import index_folder


class PromptTable:
    """The prompts of all classes, as the stage that writes them wrote them."""

    def __init__(self, dataset: str) -> None:
        """Read data/index/prompts/<dataset>/prompts.parquet; errors as `read_table`."""
        self._path = index_folder("prompts", dataset) / "prompts.parquet"
        columns = ["dataset", "label", "value", "set", "text_id"]
        table = read_table(self._path, columns)
        self._ids: dict[tuple[str, ...], list[str]] = {}
        for *key, text_id in zip(*(table.column(name).to_pylist() for name in columns), strict=True):
            self._ids.setdefault(tuple(key), []).append(text_id)

    def texts(self, dataset: str, label: str, values: Sequence[str], prompt_set: str) -> list[tuple[str, ...]]:
        """Text ids of the prompts of each class, in sorted order without repeats.

        Raises:
            DataError: a class has no prompt in that set.
        """
        found = [tuple(sorted(set(self._ids.get((dataset, label, value, prompt_set), ())))) for value in values]
        lacking = [value for value, ids in zip(values, found, strict=True) if not ids]
        if lacking:
            raise DataError(
                f"{self._path} has no prompt of set {prompt_set!r} for {len(lacking)} of {len(values)} classes "
                f"({label} of {dataset}), the first {lacking[0]!r}. Write the prompts again with: dvc repro"
            )
        return found


def class_vectors(texts: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Zero-shot classifier weights: per class the mean of its unit text vectors, brought back to unit length.

    As CLIP does (Radford et al. 2021); Freeze-Align's own code leaves the mean as it is, which favours classes whose
    prompts agree.

    Args:
        texts: (T, K) unit vectors of prompts.
        classes: (T,) int64, the class of each, from 0 without gaps.

    Returns:
        (C, K) float32 unit vectors.
    """
    sums = np.zeros((int(classes.max()) + 1, texts.shape[1]), dtype=np.float64)
    np.add.at(sums, classes, texts)
    unit: np.ndarray = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    return unit.astype(np.float32)
