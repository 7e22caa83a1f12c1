"""Searching a feature store: its features go through the heads block by block, so memory stays bounded."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from tqdm import tqdm

from pipeline.alignment import HeadConfig
from pipeline.errors import FingerprintMismatch
from pipeline.features import FeatureStore
from pipeline.features.fingerprint import differing_fields

BLOCK_ROWS = 2048


class Hit(NamedTuple):
    """One row of a store and its cosine with the query."""

    id: str
    score: float


def best_rows(
    store: FeatureStore, embed: Callable[[np.ndarray], np.ndarray], query: np.ndarray, k: int, block: int = BLOCK_ROWS
) -> list[Hit]:
    """The `k` rows of a store nearest to a query, best first; rows that could not be encoded are left out.

    Of equal scores the earlier row comes first. Fewer than `k` come back where the store has fewer valid rows.

    Args:
        embed: ids (n,) str -> unit vectors (n, K).
        query: (K,) unit vector.
        block: rows that are held in memory together.
    """
    rows, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    starts = range(0, len(store), block)
    for start in tqdm(starts, desc="search", unit="block", leave=False, disable=len(starts) < 2):
        new = start + np.flatnonzero(store.valid[start : start + block])
        if not new.size:
            continue
        rows = np.concatenate([rows, new])
        scores = np.concatenate([scores, embed(store.ids[new]) @ query])
        kept = np.lexsort((rows, -scores))[:k]
        rows, scores = rows[kept], scores[kept]
    return [Hit(str(store.ids[row]), float(score)) for row, score in zip(rows, scores, strict=True)]


def store_side(store: FeatureStore, config: HeadConfig) -> Literal["image", "text"]:
    """The side of an aligner whose features a store holds.

    Raises:
        FingerprintMismatch: neither; lists the fields in which it differs from the view of its own modality.
    """
    image, text = config.fingerprints["image"], config.fingerprints["text"]
    if store.fingerprint["digest"] == image["digest"]:
        return "image"
    if store.fingerprint["digest"] == text["digest"]:
        return "text"
    is_text = store.fingerprint.get("compared", {}).get("modality") == "text"
    side, nearest = ("text", text) if is_text else ("image", image)
    raise FingerprintMismatch(
        f"{store.folder} holds other features than aligner {config.aligner!r} was fitted to; from its view "
        f"{config.views[side]!r} it differs in:\n{differing_fields(store.fingerprint, nearest)}\n"
        f"Search a store of view {' or '.join(map(repr, config.views.values()))}, or fit an aligner to these features."
    )
