"""`permafrost import-npy`: features that are there already become a store."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console

_EXAMPLES = """\
  permafrost import-npy clip-retrieval/ --out data/features/pairs/clip/mine --model ViT-B-32/openai
  permafrost import-npy clip-retrieval/ --out data/features/pairs/clip-text/mine --model ViT-B-32/openai --texts
  permafrost import-npy features.npy --out stores/mine --model my-model --ids key     with features.parquet beside it"""


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands(
        "import-npy", run, "make a feature store of .npy and Parquet, as clip-retrieval writes them", _EXAMPLES
    )
    command.add_argument("source", type=Path, help="folder with img_emb/ and metadata/, or a .npy file")
    command.add_argument("--out", type=Path, required=True, help="folder of the store to write")
    command.add_argument(
        "--model", required=True, help="what encoded them; stores of the same name count as the same model's"
    )
    command.add_argument("--texts", action="store_true", help="they are of texts (text_emb/, captions)")
    command.add_argument("--ids", metavar="COLUMN", help="column to take as ids; else hashes of files or captions")
    command.add_argument("--dtype", choices=("float16", "float32"), default="float16")


def run(given: argparse.Namespace, console: Console) -> int:
    """Import, and say what the ids are."""
    from pipeline.interop.import_npy import import_npy

    modality: Literal["image", "text"] = "text" if given.texts else "image"
    done = import_npy(
        given.source, given.out, model=given.model, modality=modality, id_column=given.ids, dtype=given.dtype
    )  # fmt: skip
    console.answer(asdict(done))
    console.line(f"{done.store}: {done.rows} rows, {done.width} wide, ids from {done.ids}")
    if done.repeated:
        console.line(f"{done.repeated} rows were left out: their id came before")
    if done.failed:
        console.line(console.styled(f"{done.failed} rows have NaN or infinite values", "yellow"))
    return 0
