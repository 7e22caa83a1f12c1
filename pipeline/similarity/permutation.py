"""Orders of texts under which nothing but chance, or nothing but family structure, ties them to images.

Pictures of one concept family are alike, and so are their captions: blocks on the diagonal of both kernel matrices. If
single rows are shuffled, these blocks are torn up, and a value that owes everything to them passes for similarity of
meaning. So families are exchanged as wholes (restricted permutation; Winkler et al. 2014 call it whole-block): the
blocks stay, and only which family's texts face which family's images is up to chance.

Whole blocks can be exchanged only between families of one size. Families are therefore put into *classes*, from the
largest to the smallest: a class takes families until it has 5 of them and all that are as large as its last one, and
its larger families are thinned to the size of its smallest, keeping their first rows. Every permutation draws a uniform
order of the families in each class. Rows keep their place within their family. With `strata`, such as the data set of
each row, only families with rows in the same strata share a class, with as many rows in each: the style of a data set
then cannot pass for meaning either.

The p-value is exact under the hypothesis that the families of a class are exchangeable.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST = 5  # families of a class: each stays in its place in a fifth of the permutations at most


def permutations(n: int, count: int, seed: int) -> np.ndarray:
    """Permutations of n single samples, (count, n) int64."""
    generator = np.random.default_rng(seed)
    return np.stack([generator.permutation(n) for _ in range(count)])


@dataclass(frozen=True)
class Exchange:
    """Which families may change places.

    Attributes:
        rows: (M,) int64, the samples that remain after thinning, ascending.
        classes: of each class the places of its families in `rows`, (families, rows of each) int64.
    """

    rows: np.ndarray
    classes: tuple[np.ndarray, ...]

    def orders(self, count: int, seed: int) -> np.ndarray:
        """Permutations of `rows`, (count, M) int64: sample i gets the text of sample order[i]."""
        generator = np.random.default_rng(seed)
        orders = np.tile(np.arange(len(self.rows)), (count, 1))
        for order in orders:
            for places in self.classes:
                order[places.ravel()] = places[generator.permutation(len(places))].ravel()
        return orders


def exchange_families(families: np.ndarray, strata: np.ndarray | None = None, least: int = LEAST) -> Exchange:
    """Put families into classes, see the head of this module.

    Args:
        families: (N,) the family of each sample.
        strata: (N,) what must not be mixed, or None.
        least: families of a class, where there are as many.
    """
    names, family = np.unique(families.astype(str), return_inverse=True)
    levels, stratum = np.unique(np.zeros(len(family)) if strata is None else strata.astype(str), return_inverse=True)
    counts = np.zeros((len(names), len(levels)), dtype=np.int64)
    np.add.at(counts, (family, stratum), 1)
    by_cell: dict[tuple[int, int], list[int]] = {}
    for row, cell in enumerate(zip(family.tolist(), stratum.tolist(), strict=True)):
        by_cell.setdefault(cell, []).append(row)
    patterns, pattern = np.unique(counts > 0, axis=0, return_inverse=True)
    kept: list[np.ndarray] = []
    for number in range(len(patterns)):
        members = np.flatnonzero(pattern.ravel() == number).tolist()
        members.sort(key=lambda f: (-int(counts[f].sum()), *(-counts[f]).tolist(), f))
        for group in _groups(members, counts, least):
            sizes = counts[group].min(axis=0)
            kept.append(np.array([_first_rows(by_cell, f, sizes) for f in group], dtype=np.int64))
    rows = np.sort(np.concatenate([places.ravel() for places in kept]))
    return Exchange(rows, tuple(np.searchsorted(rows, places) for places in kept))


def _groups(members: Sequence[int], counts: np.ndarray, least: int) -> list[list[int]]:
    """Members, largest first, in runs of at least `least`; equal ones are not parted, too few are added to the last."""
    groups: list[list[int]] = []
    for member in members:
        alike = bool(groups) and bool((counts[groups[-1][-1]] == counts[member]).all())
        if groups and (len(groups[-1]) < least or alike):
            groups[-1].append(member)
        else:
            groups.append([member])
    if len(groups) > 1 and len(groups[-1]) < least:
        last = groups.pop()
        groups[-1] += last
    return groups


def _first_rows(by_cell: dict[tuple[int, int], list[int]], family: int, sizes: np.ndarray) -> list[int]:
    return [row for stratum, size in enumerate(sizes.tolist()) for row in by_cell.get((family, stratum), [])[:size]]
