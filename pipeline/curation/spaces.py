"""The vectors of samples in the space of a view, or of an aligner's heads on two views."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from pipeline.alignment.saved import ProjectionHeads
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
from pipeline.config.concept_curations import NO_ALIGNER, ConceptCuration
from pipeline.curation.samples import Samples
from pipeline.curation.vectors import PoolVectors
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError, FingerprintMismatch
from pipeline.features.by_id import RowsById, SomeIds
from pipeline.features.span import Rows
from pipeline.features.views import open_view
from pipeline.paths import MODELS, index_folder

Embed = Callable[[RowsById, SomeIds], np.ndarray]
_PIECE = 4096
_ARRAYS = {"image": "cls", "text": "pooled"}


class Projected:
    """Rows of a store as the heads of an aligner see them, held in memory: 4 bytes a number.

    They are made in the same pieces whatever is asked for, so a row has the same bits each time.
    """

    def __init__(self, store: RowsById, embed: Embed, width: int) -> None:
        self.shape, self.dtype = (len(store), width), np.dtype(np.float32)
        self._vectors = np.full(self.shape, np.nan, np.float32)
        valid = np.flatnonzero(store.valid)
        for start in range(0, len(valid), _PIECE):
            rows = valid[start : start + _PIECE]
            self._vectors[rows] = embed(store, store.row_ids[rows])

    def take(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """See `Rows`."""
        return np.take(self._vectors, rows, axis=0, out=out)

    def read_range(self, start: int, stop: int, out: np.ndarray | None = None) -> np.ndarray:
        """See `Rows`."""
        return self.take(np.arange(start, stop), out)


@dataclass(frozen=True)
class Side:
    """One side of a space: stores by data set, and how their rows are seen.

    Attributes:
        heads: those of the aligner; None for the features themselves.
        side: "image" or "text".
    """

    view: str
    side: str
    heads: ProjectionHeads | None = None

    def vectors(self, samples: Samples) -> PoolVectors:
        """Of all samples, whose rows are those of the pool: the images, or the first captions.

        Raises:
            StoreError: a store is missing, damaged or lacks an id.
            FingerprintMismatch: stores of a view, or those of an aligner, are of different encoders.
        """
        parts = samples.by_dataset()
        arrays: dict[str, Rows] = {}
        rows: dict[str, np.ndarray] = {}
        for name, store in open_view(self.view, parts).items():
            arrays[name] = self._rows(store)
            rows[name] = store.rows(self._ids(samples, parts[name]))
        return PoolVectors(arrays, rows)

    def servable(self, samples: Samples) -> np.ndarray:
        """Which samples (N,) bool have features on this side."""
        out = np.zeros(len(samples), bool)
        parts = samples.by_dataset()
        for name, store in open_view(self.view, parts).items():
            here = parts[name]
            if self.side == "text":
                here = here[samples.text_id.codes[here] >= 0]
            out[here] = store.servable(self._ids(samples, here))
        return out

    def texts(self, ids: Sequence[str], group: str, dataset: str) -> np.ndarray:
        """Vectors (n, K) float32 of stored texts, at unit length."""
        store = open_view(self.view, [dataset], group)[dataset]
        found = self._rows(store).take(store.rows(list(ids))).astype(np.float32)
        found /= np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return found

    def _ids(self, samples: Samples, rows: np.ndarray) -> Any:
        return (samples.pool.image_id if self.side == "image" else samples.text_id)[rows].ids()

    def _rows(self, store: RowsById) -> Rows:
        if self.heads is None:
            return store.array(_ARRAYS[self.side])
        fitted_to = str(self.heads.config.fingerprints[self.side]["digest"])
        if store.digest != fitted_to:
            raise FingerprintMismatch(
                f"Aligner {self.heads.config.aligner!r} takes features {fitted_to[:12]}; {store.source} holds "
                f"{store.digest[:12]}. Name its own views, {' and '.join(self.heads.config.views.values())}, in the "
                "curation."
            )
        embed = embed_stored_images if self.side == "image" else embed_stored_texts
        return Projected(store, partial(embed, self.heads), self.heads.config.embed_dim)


@dataclass(frozen=True)
class Space:
    """What a curation compares in.

    Attributes:
        images, captions: sides in the space of the search; of captions None where the curation names no view of texts.
        raw: image features themselves, by which duplicates are told.
    """

    images: Side
    captions: Side | None
    raw: Side


def open_space(spec: ConceptCuration, repeat: int, device: str) -> Space:
    """The space of a curation in one repeat.

    Raises:
        ModelError: the aligner is missing or damaged.
    """
    heads = None
    if spec.aligner != NO_ALIGNER:
        heads = ProjectionHeads.from_folder(MODELS / spec.aligner, repeat, torch.device(device))
    raw = Side(spec.view, "image")
    captions = None if spec.captions is None else Side(spec.captions, "text", heads)
    return Space(Side(spec.view, "image", heads), captions, raw)


def class_texts(side: Side, names: Sequence[str]) -> np.ndarray:
    """The mean (C, K) of the texts of each class, at unit length, from the stored prompts of all sets in English.

    Raises:
        DataError: a class has no stored prompt; the message names some.
    """
    table = read_table(
        index_folder("prompts", "classnames") / "prompts.parquet", ["classname", "value", "text_id", "language"]
    )
    texts: dict[str, list[str]] = {}
    for row in table.to_pylist():
        if (row["language"] or "en") == "en":
            for name in {row["classname"].lower(), row["value"].lower()}:
                texts.setdefault(name, []).append(row["text_id"])
    texts = {name: list(dict.fromkeys(ids)) for name, ids in texts.items()}
    lacking = [name for name in names if name.lower() not in texts]
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(names)} concepts have no stored class text, the first {lacking[0]!r}. Texts are "
            "stored of classes that evaluate.tasks.classification names; take these as concepts, or set `prototypes: "
            "images`."
        )
    ids = list(dict.fromkeys(one for name in names for one in texts[name.lower()]))
    vectors = dict(zip(ids, side.texts(ids, "prompts", "classnames"), strict=True))
    means = np.stack([np.mean([vectors[one] for one in texts[name.lower()]], axis=0) for name in names])
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return np.asarray(means, np.float32)
