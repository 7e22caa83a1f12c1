"""What a hit of a search stands for: the file of a picture and its captions, or a text."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config.further import FURTHER
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.inference.search import Hit


@dataclass(frozen=True)
class FoundItem:
    """A hit, with what a person wants to see of it.

    Attributes:
        id: of the row.
        score: cosine with the query.
        path: of the file that holds the picture, absolute, be it a tar; None for a text.
        key: the name that the source gives the picture, such as its file name.
        captions: those of the picture in the order of the index, or the text itself.
        index: the index folder and the row of the picture in it; None where it is no picture of an index.
    """

    id: str
    score: float
    path: Path | None
    key: str | None
    captions: tuple[str, ...]
    index: tuple[Path, int] | None = None

    def picture(self) -> Image.Image:
        """The picture as RGB.

        Raises:
            DataError: it is a text, or the file is gone, was changed or cannot be decoded.
        """
        if self.index is not None:
            return ImageTable(self.index[0]).load(self.index[1])
        if self.path is None:
            raise DataError(f"{self.id} is a text: {self.captions[0]!r}")
        from pipeline.inference.inputs import open_image

        return open_image(self.path)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        path = None if self.path is None else str(self.path)
        return {"id": self.id, "score": self.score, "path": path, "key": self.key, "captions": list(self.captions)}


def found_items(index: Path, hits: list[Hit]) -> list[FoundItem]:
    """Hits of a store with what its index says of them, in the order of the hits.

    Args:
        index: as `index_of` gives it.

    Raises:
        DataError: a table of the index is missing or damaged, or has no such row.
    """
    texts = read_table(index / "texts.parquet", ["text_id", "text"])
    wanted = [hit.id for hit in hits]
    rows = _rows(texts.column("text_id"), wanted)
    if not any(place is None for place in rows):
        found = [texts.column("text")[place].as_py() for place in rows]
        return [FoundItem(hit.id, hit.score, None, None, (text,)) for hit, text in zip(hits, found, strict=True)]
    for modality in FURTHER:
        if (index / f"{modality}.parquet").is_file() and (further := _further(index, texts, hits, modality)):
            return further
    images = ImageTable(index)
    places = _rows(read_table(index / "images.parquet", ["image_id"]).column("image_id"), wanted)
    pairs = read_table(index / "pairs.parquet", ["image_id", "text_id"])
    captions = _captions(pairs, texts, wanted)
    items = []
    for hit, place in zip(hits, places, strict=True):
        if place is None:
            raise DataError(f"{index} has no row {hit.id}: it is of other data than the store. Run: dvc repro")
        row = images.row(place)
        path = Path(row["path"])
        path = path if path.is_absolute() else index / path
        items.append(FoundItem(hit.id, hit.score, path, row.get("key"), captions[hit.id], (index, place)))
    return items


def _further(index: Path, texts: Any, hits: list[Hit], modality: str) -> list[FoundItem]:
    """Hits that are samples of a further modality; none where one is not."""
    wanted, column = [hit.id for hit in hits], f"{modality}_id"
    table = read_table(index / f"{modality}.parquet", [column, "path", "key"])
    places = _rows(table.column(column), wanted)
    if any(place is None for place in places):
        return []
    pairs = read_table(index / f"{modality}_pairs.parquet", [column, "text_id"])
    captions = _captions(pairs, texts, wanted, column)
    items = []
    for hit, place in zip(hits, places, strict=True):
        path, key = (table.column(name)[place].as_py() for name in ("path", "key"))
        items.append(FoundItem(hit.id, hit.score, index / path, key, captions[hit.id]))
    return items


def _rows(column: Any, wanted: list[str]) -> list[int | None]:
    """Where each id first stands in a column, or None."""
    import pyarrow as pa
    import pyarrow.compute as pc

    place = pc.index_in(pa.array(wanted, pa.string()), value_set=column)
    return [None if one is None else int(one) for one in place.to_pylist()]


def _captions(pairs: Any, texts: Any, wanted: list[str], key: str = "image_id") -> dict[str, tuple[str, ...]]:
    """The captions of some images, or of samples with ids in another column, each once, in the order of the pairs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    own = pairs.filter(pc.is_in(pairs.column(key), value_set=pa.array(wanted, pa.string())))
    places = np.asarray(pc.index_in(own.column("text_id"), value_set=texts.column("text_id")))
    strings = texts.column("text").take(pa.array(places)).to_pylist()
    captions: dict[str, dict[str, None]] = {identifier: {} for identifier in wanted}
    for identifier, string in zip(own.column(key).to_pylist(), strings, strict=True):
        captions[identifier][string] = None
    return {identifier: tuple(named) for identifier, named in captions.items()}
