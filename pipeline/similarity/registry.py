"""Every measure of similarity under its name, with one signature: `measure(x, y)`, (N, D) and (N, E) to a float.

Row i of both spaces belongs to sample i. Values are at most 1, higher is more alike; docs/similarity.md has formulas,
sources, and the sizes at which each is exact.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from pipeline.similarity.cka import linear_cka, unbiased_linear_cka
from pipeline.similarity.neighbours import cknna, mutual_knn
from pipeline.similarity.rbf import rbf_cka, rbf_cka_biased

Measure = Callable[[np.ndarray, np.ndarray], float]

MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        "cka": unbiased_linear_cka,
        "cka_biased": linear_cka,
        "rbf_cka": rbf_cka,
        "rbf_cka_biased": rbf_cka_biased,
        "cknna": cknna,
        "mutual_knn": mutual_knn,
    }
)
