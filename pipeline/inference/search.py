"""Searching a feature store: its features go through the heads block by block, so memory stays bounded."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

import numpy as np

from pipeline.alignment import HeadConfig
from pipeline.errors import FingerprintMismatch
from pipeline.features import FeatureStore
from pipeline.features.fingerprint import differing_fields
from pipeline.progress import tqdm

BLOCK_ROWS = 2048
Block = tuple[np.ndarray, np.ndarray]  # positions (n,) int64 and unit vectors (n, K) float32


class Hit(NamedTuple):
    """One row of a store and its cosine with the query."""

    id: str
    score: float


def embedded_rows(
    store: FeatureStore, embed: Callable[[np.ndarray], np.ndarray], block: int = BLOCK_ROWS
) -> Iterator[Block]:
    """The rows of a store through the heads, in order and block by block; those that could not be encoded are left out.

    Args:
        embed: ids (n,) str -> unit vectors (n, K).
        block: rows that are held in memory together.
    """
    starts = range(0, len(store), block)
    for start in tqdm(starts, desc="search", unit="block", leave=False, disable=len(starts) < 2):
        new = start + np.flatnonzero(store.valid[start : start + block])
        if new.size:
            yield new, embed(store.ids[new])


def best_rows(ids: np.ndarray, blocks: Iterable[Block], query: np.ndarray, k: int) -> list[Hit]:
    """The `k` rows nearest to a query, best first; of equal scores the earlier row. Fewer where there are fewer rows.

    Args:
        ids: (N,) of all rows of the store.
        blocks: as `embedded_rows` gives them.
        query: (K,) unit vector.
    """
    rows, scores = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    for new, vectors in blocks:
        rows = np.concatenate([rows, new])
        scores = np.concatenate([scores, vectors @ query])
        kept = np.lexsort((rows, -scores))[:k]
        rows, scores = rows[kept], scores[kept]
    return [Hit(str(ids[row]), float(score)) for row, score in zip(rows, scores, strict=True)]


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
