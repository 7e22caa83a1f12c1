"""Samples of a further modality in groups that are reported apart: sounds by kind and by the language spoken."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.coded import Coded
from pipeline.datasets.caption_pairs import CaptionPairs
from pipeline.datasets.sample_table import SampleTable, samples_file
from pipeline.datasets.tables import table_columns
from pipeline.paths import SPLITS

_TOLD_APART = ("kind", "language")  # columns of the table of samples, where it has them


@dataclass(frozen=True)
class Group:
    """Samples that are reported together.

    Attributes:
        kind: what they are, such as "effect" or "speech"; with it the names of metrics begin; "" where nothing says it.
        language: that is spoken, or None.
    """

    kind: str
    language: str | None

    def metric(self, name: str) -> str:
        """The name of a metric of this group."""
        return f"{self.kind}_{name}" if self.kind else name


class Samples:
    """The kind and language of samples, by data set and id.

    Args:
        modality: of the samples.

    Raises:
        DataError: the table of samples is missing or damaged.
    """

    def __init__(self, modality: str) -> None:
        there = table_columns(SPLITS / samples_file(modality))
        self._columns = [name for name in _TOLD_APART if name in there]
        self._samples = SampleTable.read(self._columns, 0, modality)

    def groups(self, dataset: str, ids: Coded) -> Iterator[tuple[Group, np.ndarray]]:
        """The groups in sorted order, and which of the samples (n,) bool each has."""
        rows = self._samples.find(dataset, ids.astype(str))
        found = [self._samples.columns[name][rows].strings() if name in self._columns else None for name in _TOLD_APART]
        kinds, languages = (np.full(len(rows), None) if one is None else one for one in found)
        named = sorted({(kind or "", language or "") for kind, language in zip(kinds, languages, strict=True)})
        for kind, language in named:
            mask = (kinds == (kind or None)) & (languages == (language or None))
            yield Group(kind, language or None), mask

    def spoken(self, pairs: CaptionPairs, dataset: str) -> np.ndarray:
        """Which pairs (P,) bool join a sample with a text in the language that is spoken in it."""
        rows = self._samples.find(dataset, pairs.image_id.astype(str))
        if "language" not in self._columns:
            return np.zeros(len(pairs), dtype=bool)
        return np.asarray(self._samples.columns["language"][rows].strings() == pairs.language.strings())
