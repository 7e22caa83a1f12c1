"""What an aligner can be asked about: the pictures of one data set, with their captions, in its shared space."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from pipeline.alignment import ProjectionHeads
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts
from pipeline.arithmetic import own_arithmetic
from pipeline.datasets.decode import ImageTable
from pipeline.errors import DataError
from pipeline.inference.search import best_rows, embedded_rows, opened_rows

KEPT_BYTES = 512 << 20  # vectors of one collection that stay in memory; larger ones are read anew for each search


@dataclass(frozen=True)
class Picture:
    """A picture of a collection, as the page shows it."""

    id: str
    captions: list[str]
    key: str
    score: float

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"id": self.id, "captions": self.captions, "key": self.key, "score": round(self.score, 4)}


class Pictures:
    """The pictures and captions of an index; nothing here depends on an aligner.

    Args:
        index: folder of the index.
    """

    def __init__(self, index: Path) -> None:
        self._images = ImageTable(index)
        self._keys = pq.read_table(index / "images.parquet", columns=["image_id", "key"])
        self._pairs = pq.read_table(index / "pairs.parquet", columns=["image_id", "text_id", "language"])
        self._texts = pq.read_table(index / "texts.parquet", columns=["text_id", "text"])

    def load(self, identifier: str) -> Image.Image:
        """The picture as RGB.

        Raises:
            DataError: unknown id, or the picture cannot be read.
        """
        place = pc.index(self._keys["image_id"], value=identifier).as_py()
        if place < 0:
            raise DataError(f"There is no picture {identifier!r} in this data set.")
        return self._images.load(place)

    def described(self, found: Sequence[tuple[str, float]], most: int = 3) -> list[Picture]:
        """Captions, English first, and the key of each picture."""
        ids = pa.array([identifier for identifier, _ in found], pa.string())
        pairs = self._pairs.filter(pc.is_in(self._pairs["image_id"], ids))
        texts = self._texts.filter(pc.is_in(self._texts["text_id"], pairs["text_id"].combine_chunks()))
        words = dict(zip(texts["text_id"].to_pylist(), texts["text"].to_pylist(), strict=True))
        captions: dict[str, list[str]] = {}
        rows = sorted(pairs.to_pylist(), key=lambda row: row["language"] != "en")
        for row in rows:
            listed = captions.setdefault(row["image_id"], [])
            if row["text_id"] in words and words[row["text_id"]] not in listed:
                listed.append(words[row["text_id"]])
        keys = self._keys.filter(pc.is_in(self._keys["image_id"], ids)).to_pylist()
        named = {row["image_id"]: row["key"] or "" for row in keys}
        return [Picture(one, captions.get(one, [])[:most], named.get(one, ""), score) for one, score in found]

    def first_captions(self, language: str = "en") -> dict[str, str]:
        """The id of the first caption in a language, by image."""
        pairs = self._pairs.filter(pc.equal(self._pairs["language"], language))
        first: dict[str, str] = {}
        for image, text in zip(pairs["image_id"].to_pylist(), pairs["text_id"].to_pylist(), strict=True):
            first.setdefault(image, text)
        return first

    def texts(self, ids: Sequence[str]) -> list[str]:
        """The texts with these ids, in that order; empty where there is none."""
        found = self._texts.filter(pc.is_in(self._texts["text_id"], pa.array(list(ids), pa.string()))).to_pylist()
        words = {row["text_id"]: row["text"] for row in found}
        return [words.get(identifier, "") for identifier in ids]


class Collection:
    """Rows of the stores of one data set as unit vectors of an aligner.

    Args:
        name: of the data set.
        images, texts: folders of its stores in the views of the aligner, one for each view that a side joins; texts
            may be missing.
        index: folder of its index.
        heads: of the aligner.

    Attributes:
        pictures: what is shown of a row.
    """

    def __init__(
        self, name: str, images: Sequence[Path], texts: Sequence[Path] | None, index: Path, heads: ProjectionHeads
    ) -> None:
        self.name, self.pictures = name, Pictures(index)
        self._images, self._heads = opened_rows(images, heads.config), heads
        self._texts = opened_rows(texts, heads.config) if texts is not None else None

    def __len__(self) -> int:
        return int(self._images.valid.sum())

    @cached_property
    def _kept(self) -> list[tuple[np.ndarray, np.ndarray]] | None:
        if len(self) * self._heads.config.embed_dim * 4 > KEPT_BYTES:
            return None
        return list(embedded_rows(self._images, partial(embed_stored_images, self._heads, self._images)))

    def nearest(self, vector: np.ndarray, count: int) -> list[Picture]:
        """The pictures nearest to a unit vector (K,), best first."""
        with own_arithmetic():
            embed = partial(embed_stored_images, self._heads, self._images)
            blocks = self._kept if self._kept is not None else embedded_rows(self._images, embed)
            return self.pictures.described(best_rows(self._images.ids, blocks, vector, count))

    def nearest_captions(self, vector: np.ndarray, count: int) -> list[tuple[str, float]]:
        """The distinct captions nearest to a unit vector (K,), best first; none without a store of texts."""
        if self._texts is None:
            return []
        with own_arithmetic():
            blocks = embedded_rows(self._texts, partial(embed_stored_texts, self._heads, self._texts))
            hits = best_rows(self._texts.ids, blocks, vector, 3 * count)
        best: dict[str, float] = {}
        for text, hit in zip(self.pictures.texts([hit.id for hit in hits]), hits, strict=True):
            best.setdefault(text, hit.score)
        return [(text, score) for text, score in best.items() if text][:count]

    def pairs(self, most: int) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
        """Evenly spaced pairs of picture and first English caption: ids of both, and their vectors (n, K)."""
        if self._texts is None:
            return [], [], np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
        first = self.pictures.first_captions()
        texts = set(self._texts.ids[self._texts.valid].tolist())
        known = [one for one in self._images.ids[self._images.valid].tolist() if first.get(one) in texts]
        chosen = (
            [known[place] for place in np.unique(np.linspace(0, len(known) - 1, most).astype(int))] if known else []
        )
        captions = [first[one] for one in chosen]
        if not chosen:
            return [], [], np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
        with own_arithmetic():
            of_images = embed_stored_images(self._heads, self._images, np.array(chosen))
            of_texts = embed_stored_texts(self._heads, self._texts, np.array(captions))
        return chosen, captions, of_images, of_texts
