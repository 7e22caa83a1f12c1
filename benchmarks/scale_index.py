"""The index of a project of `scale_project.py`, written at once: what the stage `index` writes, in a tenth of its time.

    python benchmarks/scale_index.py FOLDER ROWS

For sizes at which checking millions of toy pictures would take hours of a busy machine. Tables, ids and texts are those
of the stage; the archive holds the pictures of the first rows alone, and rows beyond them point to one of these.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from scale_project import PIECE, ROOT, WORDS, caption, pictures

sys.path.insert(0, str(ROOT))
from pipeline.datasets.archive import Archive
from pipeline.datasets.tables import FAILURES, SCHEMAS, image_id, text_id, write_pieces
from pipeline.files import write_json

TABLES = ("images", "texts", "pairs", "labels")


def write_index(folder: Path, rows: int) -> None:
    """Write data/index/pairs/mine of a project."""
    out = folder / "data" / "index" / "pairs" / "mine"
    out.mkdir(parents=True, exist_ok=True)
    first = list(pictures(range(min(rows, PIECE))))
    archive = Archive(out / "images.tar")
    places = [(archive.add(image_id(content), content, "png"), len(content)) for content in first]
    archive.finish()
    for name in TABLES:
        write_pieces((piece(name, part, places) for part in parts(rows)), SCHEMAS[name], out / f"{name}.parquet")
    write_pieces([], FAILURES, out / "failures.parquet")
    counts = dict.fromkeys(("images", "texts", "pairs", "concepts"), rows) | {"failures": 0}
    about: dict[str, Any] = {"available": True, "reason": None, "source": "table", "transfer": False, "packages": {}}
    write_json(about | {"counts": counts, "texts_per_language": {"en": rows}}, out / "about.json")


def parts(rows: int) -> Iterator[range]:
    """All rows, a piece at a time."""
    for start in range(0, rows, PIECE):
        yield range(start, min(start + PIECE, rows))


def piece(name: str, part: range, places: list[tuple[int, int]]) -> pa.Table:
    """Some rows of one table."""
    images = [image_id(f"picture {row}".encode()) for row in part] if name != "texts" else []
    captions = [caption(row) for row in part] if name in ("texts", "pairs") else []
    texts = [text_id(text) for text in captions]
    here = [places[row % len(places)] for row in part] if name == "images" else []
    columns: dict[str, list[Any]] = {
        "image_id": images,
        "concept": images,
        "text_id": texts,
        "text": captions,
        "key": [f"{row:09d}" for row in part],
        "offset": [offset for offset, _ in here],
        "length": [length for _, length in here],
        "category": [WORDS[row % len(WORDS)] for row in part],
        "keywords": [[]] * len(part),
    }
    fixed = {"modality": name[:-1], "path": "images.tar", "width": 8, "height": 8, "language": "en", "role": "caption"}
    schema = SCHEMAS[name]
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.repeat(pa.scalar(fixed.get(field.name), field.type), len(part))
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


if __name__ == "__main__":
    write_index(Path(sys.argv[1]), int(sys.argv[2]))
