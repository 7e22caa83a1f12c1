"""A project of any number of captioned pictures, for `benchmarks/scale.py`: toy pictures, toy vectors, params.yaml.

Everything follows from the number of a row, so that two sizes share their first rows. Pictures are PNG files of 8 x 8
pixels inside Parquet tables. Vectors of 16 numbers are imported, as those of a backbone that ran elsewhere: what is
measured is the handling of rows and not a forward pass.

    python benchmarks/scale_project.py FOLDER ROWS MODE
"""

import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

ROOT = Path(__file__).resolve().parents[1]
WIDTH = 16
NOISE = 0.5  # of the text vectors beside the image vectors
PIECE = 1 << 16
NEAR = {"control": "eye", "permutations": 20}
NAMED = {"key": "key", "category": "category"}  # columns of the table
PROMPTS = """
from pathlib import Path
from pipeline.config import ClassificationSet, PromptedClasses
from pipeline.datasets.prompts import build_prompts
classes = (ClassificationSet(dataset="mine", label="category"),)
build_prompts(Path("data/splits"), PromptedClasses(classes=classes), Path("prompts"))
"""  # the stage without the encoder of prompts, which imported vectors are none of
CLOSED = """
import runpy, sys
from pipeline.alignment import validation
validation.read_validation.__defaults__ = (1024,)
sys.argv[0] = "stages.train"
runpy.run_module("stages.train", run_name="__main__")
"""  # 1,024 validation images for 8,192: a fixed 1.4 GB and two minutes a repeat less
WORDS = ("anchor", "bridge", "candle", "daisy", "engine", "feather", "guitar", "hammer", "island", "jacket")


def write_project(folder: Path, rows: int, mode: str) -> None:
    """Write the sources of `rows` captioned pictures, their vectors and params.yaml.

    Args:
        mode: of train.features: "auto", or "stream".
    """
    source = folder / "source"
    (source / "pictures").mkdir(parents=True, exist_ok=True)
    arrays = {
        side: np.lib.format.open_memmap(source / f"{side}.npy", "w+", np.float16, (rows, WIDTH))
        for side in ("image", "text")
    }
    names = {
        "image": pq.ParquetWriter(source / "image.parquet", pa.schema([("key", pa.string())])),
        "text": pq.ParquetWriter(source / "text.parquet", pa.schema([("caption", pa.string())])),
    }
    for number, start in enumerate(range(0, rows, PIECE)):
        part = range(start, min(start + PIECE, rows))
        keys, captions = [f"{row:09d}" for row in part], [caption(row) for row in part]
        columns = {"image": pa.array(pictures(part), pa.binary()), "caption": captions, "key": keys}
        columns["category"] = [WORDS[row % len(WORDS)] for row in part]
        pq.write_table(pa.table(columns), source / "pictures" / f"{number:05d}.parquet")
        names["image"].write_table(pa.table({"key": keys}))
        names["text"].write_table(pa.table({"caption": captions}))
        for side, values in zip(("image", "text"), vectors(part), strict=True):
            arrays[side][part.start : part.stop] = values
    for writer in names.values():
        writer.close()
    for array in arrays.values():
        array.flush()
    params = folder / "params.yaml"
    params.write_text(yaml.safe_dump(parameters(source, mode), sort_keys=False), encoding="utf-8")


def pictures(part: range) -> Iterator[bytes]:
    """PNG files of 8 x 8 grey pixels that differ for each row."""
    lines = np.zeros((len(part), 8, 9), np.uint8)  # each line begins with the filter that it went through, 0 for none
    lines[:, :, 1:] = np.random.default_rng(part.start).integers(0, 256, (len(part), 8, 8), dtype=np.uint8)
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0))
    end = _chunk(b"IEND", b"")
    for content in lines:
        yield start + _chunk(b"IDAT", zlib.compress(content.tobytes(), 0)) + end


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def caption(row: int) -> str:
    """A caption that differs for each row."""
    return f"a {WORDS[row % len(WORDS)]} beside the {WORDS[row // len(WORDS) % len(WORDS)]} of house {row}"


def vectors(part: range) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (n, WIDTH) float16 of the pictures and the captions of some rows: alike but for noise."""
    generator = np.random.default_rng(part.start)
    image = generator.normal(size=(len(part), WIDTH))
    return image.astype(np.float16), (image + NOISE * generator.normal(size=image.shape)).astype(np.float16)


def parameters(source: Path, mode: str) -> dict[str, Any]:
    """The params.yaml of the project."""
    hydra = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["hydra"]

    def encoder(side: str) -> dict[str, Any]:
        return {"modality": side, "source": "imported", "model": str(source / f"{side}.npy"), "loader": "imported"}

    def aligner(kind: dict[str, Any]) -> dict[str, Any]:
        return {"views": ["eye", "words"], "data": "all", "head": kind}

    forms = {"cca": {"shrink": 1.0}, "kernel-ridge": {"ridge": 0.3, "size": 64}}
    return {
        "seed": 0,
        "encoders": {"eye": encoder("image"), "words": encoder("text")},
        "views": {"eye": {"encoder": "eye", "resolution": 8, "tier": "cls"}, "words": {"encoder": "words"}},
        "datasets": {"mine": {"source": "table", "path": f"{source}/pictures/*.parquet", "columns": NAMED}},
        "stores": {
            "pairs": {
                "mine-eye": {"dataset": "mine", "view": "eye", "encoder": "eye"},
                "mine-words": {"dataset": "mine", "view": "words", "encoder": "words"},
            }
        },
        "compare": {"near": {**NEAR, "datasets": ["mine"], "images": ["eye"], "texts": ["words"]}},
        "curations": {"all": {"view": "eye", "pool": ["mine"]}},
        "aligners": {
            "closed": aligner({"kind": "closed-form", "local_tokens": "none", "image_input": "cls", "forms": forms}),
            "trained": aligner({"kind": "linear", "local_tokens": "none", "image_input": "cls"}),
        },
        "splits": {"repeats": 5, "validation": 0.1, "test": 0.2},
        "encode": {"shard_rows": 4096},
        "train": {"epochs": 1, "min_steps": 0, "batch_size": 1024, "features": mode, "checkpoint_seconds": 0.0},
        "evaluate": {
            "tasks": {task: {"datasets": ["mine"], "recall_at": [1, 5, 10]} for task in ("retrieval", "multilingual")},
            "showcase": "closed",
            "bootstrap": 500,
        },
        "hydra": hydra,
    }


def stages() -> Iterator[tuple[str, list[str]]]:
    """Each stage under the name of its row of the table, and its command without Python."""
    for stage, item in (
        *(("settings", ""), ("listing", ""), ("index", "mine"), ("checkpoint", "eye"), ("checkpoint", "words")),
        *(("splits", ""), ("prompts", ""), ("encode", "mine-eye"), ("encode", "mine-words"), ("curate", "all")),
        *(("compare", "near"), ("train", "closed"), ("train", "trained")),
        *(("evaluate", "retrieval"), ("evaluate", "multilingual"), ("accounting", ""), ("report", "")),
    ):
        if stage == "prompts":
            yield stage, ["-c", PROMPTS]
            continue
        if item == "closed":
            yield f"{stage}@{item}", ["-c", CLOSED, f"+item={item}"]
            continue
        yield f"{stage}@{item}" if item else stage, ["-m", f"stages.{stage}", *([f"+item={item}"] if item else [])]


if __name__ == "__main__":
    write_project(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
