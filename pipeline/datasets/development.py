"""Families for development: every choice of design is made on them, and no repeat ever tests them."""

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

COLUMN = "development"  # of samples.parquet


def development_families(
    samples: list[dict[str, Any]], fixed: Mapping[str, str], kept_out: Collection[str], share: float
) -> set[str]:
    """Families of about `share` of the images of every data set, the same in all repeats and for every seed.

    Families are ordered by a hash of their name. One is taken if none of its data sets would exceed its share.

    Args:
        samples: rows with `dataset` and `family`.
        fixed: families whose split is determined elsewhere; they are left out.
        kept_out: further families that are left out, since a data set tests them by a split of its own.
        share: of the images of each data set; 0 for none.
    """
    images: dict[str, Counter[str]] = {}
    for row in samples:
        images.setdefault(row["family"], Counter())[row["dataset"]] += 1
    totals = Counter(row["dataset"] for row in samples)
    room = {dataset: round(share * total) for dataset, total in totals.items()}
    found = set()
    for family in sorted(images, key=lambda one: hashlib.sha256(f"development:{one}".encode()).digest()):
        wanted = images[family]
        if family in fixed or family in kept_out or any(wanted[dataset] > room[dataset] for dataset in wanted):
            continue
        found.add(family)
        for dataset, number in wanted.items():
            room[dataset] -= number
    return found
