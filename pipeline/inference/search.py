"""Searching a feature store: its features go through the heads block by block, so memory stays bounded."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from pipeline.alignment import HeadConfig
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.features import FeatureStore
from pipeline.features.by_id import RowsById
from pipeline.features.fingerprint import differing_fields
from pipeline.features.fused import FusedStore
from pipeline.inference.arguments import several
from pipeline.inference.filters import Where, allowed_rows, columns_of, store_rows
from pipeline.inference.scan import Block, nearest
from pipeline.inference.sounds import is_sound
from pipeline.progress import tqdm

BLOCK_ROWS = 2048
_NOTHING = 1e-4  # length of a sum of unit vectors that says nothing
Query = str | Path | Image.Image | tuple[Any, int] | dict[str, Any]
Searched = RowsById | str | Path


class Hit(NamedTuple):
    """One row of a store and its cosine with the query."""

    id: str
    score: float


def embedded_rows(
    store: RowsById, embed: Callable[[np.ndarray], np.ndarray], block: int = BLOCK_ROWS
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


def require_query(query: Any) -> None:
    """Check that a query is one text, picture or sound.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(query, (str, Path, Image.Image)) and not is_sound(query):
        raise DataError(
            f"Expected one query, a text or a picture (PIL image or Path), or a sound (Path, or samples with their "
            f"rate), found {type(query).__name__}. "
            "For several, call search for each: the store's vectors are kept. To mix them, pass add= and subtract=, "
            "lists of texts and pictures."
        )


def combined(parts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """The sum of unit vectors (K,) with their signs, at unit length.

    Raises:
        DataError: they cancel.
    """
    total = np.sum([sign * vector for sign, vector in parts], axis=0)
    length = float(np.linalg.norm(total))
    if length < _NOTHING:
        raise DataError("What is subtracted leaves nothing of the query; search for something else than itself.")
    unit: np.ndarray = (total / length).astype(np.float32)
    return unit


def combined_query(
    encode: Callable[[Query], np.ndarray], query: Query, add: Sequence[Query], subtract: Sequence[Query]
) -> np.ndarray:
    """The unit vector (K,) of a query with others added and taken off, each a text or a picture.

    Args:
        encode: one text or picture -> its unit vector (K,).

    Raises:
        DataError: nothing is left; `add` or `subtract` is no list; and as `encode`.
    """
    added, taken = (several(v, name, "texts and pictures") for v, name in ((add, "add"), (subtract, "subtract")))
    signed = [(1, query), *((1, one) for one in added), *((-1, one) for one in taken)]
    for _, one in signed:
        require_query(one)
    return combined([(sign, encode(one)) for sign, one in signed])


def best_rows(
    ids: np.ndarray, blocks: Iterable[Block], query: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> list[Hit]:
    """The `k` rows nearest to a query, best first; of equal scores the earlier row. Fewer where there are fewer rows.

    Args:
        ids: (N,) of all rows of the store.
        blocks: as `embedded_rows` gives them.
        query: (K,) unit vector.
        allowed: (N,) bool, which rows may be found; all where None.
    """
    found = nearest(blocks, query[None], k, allowed)
    return [Hit(str(ids[row]), float(score)) for row, score in zip(found.rows[0], found.scores[0], strict=True)]


def store_filter(store: RowsById, side: str, among: Iterable[str] | None, where: Where | None) -> np.ndarray | None:
    """Which rows of a store may be found, (N,) bool; None for all.

    Args:
        side: "image", "audio" or "text", what its rows are.

    Raises:
        DataError: as `allowed_rows` and `store_rows`; or `where`, and the store has no index.
    """
    allowed = None if among is None else allowed_rows(store.ids, among)
    if where := columns_of(where):
        chosen = store_rows(index_of(store.folder), store.ids, f"{side}_id", where)
        allowed = chosen if allowed is None else allowed & chosen
    return allowed


def index_of(store: Path) -> Path:
    """The index folder of a store data/features/<group>/<view>/<dataset>, wherever the project is.

    Raises:
        DataError: there is none, as for a store that was copied alone.
    """
    store = store.resolve()
    folder = store.parents[3] / "index" / store.parents[1].name / store.name if len(store.parents) > 3 else store
    if not (folder / "texts.parquet").is_file():
        raise DataError(f"{store} has no index at {folder}, which names its pictures. Make it with: dvc repro index")
    return folder


def opened_rows(store: Searched | Sequence[Searched], config: HeadConfig) -> RowsById:
    """The rows to search: one store, or stores of all views that a side of the aligner joins, in any order.

    Rows are joined by id; those that one of the stores lacks are left out.

    Raises:
        StoreError: a store does not exist.
        FingerprintMismatch: they are not those of one side.
    """
    given = [store] if isinstance(store, RowsById | str | Path) or not isinstance(store, Sequence) else list(store)
    opened = [one if isinstance(one, RowsById) else FeatureStore.open(one) for one in given]
    sides = {one["digest"] for one in config.fingerprints.values()}
    if len(opened) == 1 and (not config.fusions or opened[0].digest in sides):
        return opened[0]
    of_digest = {one.digest: one for one in opened}
    for side in config.fusions:
        members = config.members(side)
        if len(of_digest) == len(opened) and {one["digest"] for one in members.values()} == of_digest.keys():
            return FusedStore(opened[0].folder, {view: of_digest[one["digest"]] for view, one in members.items()})
    expected = ", or ".join(" + ".join(config.members(side)) for side in config.views)
    raise FingerprintMismatch(
        f"Aligner {config.aligner!r} searches stores of its views {expected}; found "
        f"{', '.join(one.source for one in opened)}. Pass a store of each view that one side joins, all of one "
        "data set, as a list."
    )


def store_side(store: RowsById, config: HeadConfig) -> Literal["image", "text"]:
    """The side of an aligner whose features a store holds.

    Raises:
        FingerprintMismatch: neither; lists the fields in which it differs from the view of its own modality.
    """
    image, text = config.fingerprints["image"], config.fingerprints["text"]
    if store.fingerprint["digest"] == image["digest"]:
        return "image"
    if store.fingerprint["digest"] == text["digest"]:
        return "text"
    of_text = config.modality("text") == store.fingerprint.get("compared", {}).get("modality")
    side, nearest = ("text", text) if of_text else ("image", image)
    raise FingerprintMismatch(
        f"{store.source} holds other features than aligner {config.aligner!r} was fitted to; from its view "
        f"{config.views[side]!r} it differs in:\n{differing_fields(store.fingerprint, nearest)}\n"
        f"Search a store of view {' or '.join(map(repr, config.views.values()))}, or fit an aligner to these features."
    )
