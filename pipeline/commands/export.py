"""`permafrost export`: what other programs read."""

import argparse
from pathlib import Path

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console

_EXAMPLES = """\
  permafrost export sentence-transformers data/models/default out/st      a folder for SentenceTransformer(path)
  permafrost export onnx data/models/default out/onnx --int8              image.onnx and text.onnx
  permafrost export atlas data/models/default atlas.parquet               a map that embedding-atlas opens
  permafrost export curation rich out/rich --urls laion.parquet          samples, captions, card, webdataset, addresses
  permafrost export clip-benchmark classification out/stamps --dataset stamps --label category --prompt-set ensemble
  permafrost export clip-benchmark retrieval out/emoji --dataset emoji --repeat 0"""
_MODELS = {"sentence-transformers": "export_sentence_transformers", "onnx": "export_onnx"}


def add(commands: Adder) -> None:
    """Add the subcommand."""
    about = "write an aligner, a curation or a test split in the format of another program"
    command = commands("export", run, about, _EXAMPLES)
    command.add_argument("format", choices=(*_MODELS, "atlas", "curation", "clip-benchmark"), help="what to write")
    command.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its arguments; --help lists them")


def run(given: argparse.Namespace, console: Console) -> int:
    """Hand over to the exporter; of an aligner, say how far its vectors are from those of the export."""
    if given.format == "clip-benchmark":
        from pipeline.interop.export import main

        return main(given.rest)
    if given.format == "atlas":
        return _atlas(given, console)
    if given.format == "curation":
        return _curation(given, console)
    parser = argparse.ArgumentParser(prog=f"permafrost export {given.format}")
    parser.add_argument("model", help="folder of an aligner, such as data/models/default, or a Hugging Face name")
    parser.add_argument("out", type=Path, help="a new or empty folder")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON value")
    if given.format == "onnx":
        parser.add_argument(
            "--int8", action="store_true", help="encoders with weights of 8 bits; the head stays float32"
        )
        parser.add_argument("--batch", type=int, help="inputs per call; any number if left out")
    wanted = vars(parser.parse_args(given.rest))
    model, out, console = wanted.pop("model"), wanted.pop("out"), Console(json=wanted.pop("json") or given.json)
    from pipeline.inference import Aligner

    write = getattr(Aligner.from_pretrained(model, device="cpu"), _MODELS[given.format])
    checked = write(out, **wanted)
    console.answer({"folder": out, "checked": checked})
    for modality, found in checked.items():
        console.line(f"{out}, {modality}: vectors differ from the aligner's by {found}")
    return 0


def _curation(given: argparse.Namespace, console: Console) -> int:
    """Write the selection of one repeat as a data set."""
    parser = argparse.ArgumentParser(prog="permafrost export curation")
    parser.add_argument("name", help="an entry of `concept_curations`")
    parser.add_argument("out", type=Path, help="a new or empty folder")
    parser.add_argument("--repeat", type=_count, default=0, help="whose selection (0)")
    parser.add_argument("--urls", type=Path, help="Parquet with `id` and `url`, for an img2dataset list")
    parser.add_argument("--no-pictures", action="store_true", help="no shards, also where the bytes are at hand")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON value")
    wanted = parser.parse_args(given.rest)
    console = Console(json=wanted.json or given.json)
    from pipeline.curation.publish import export_curation

    done = export_curation(
        wanted.name, wanted.out, repeat=wanted.repeat, urls=wanted.urls, pictures=not wanted.no_pictures
    )
    console.answer({"folder": wanted.out, **done})
    console.line(
        f"{wanted.out}: {done['samples']} samples, {done['pictures']} with pictures, {done['urls']} with addresses"
    )
    return 0


def _atlas(given: argparse.Namespace, console: Console) -> int:
    """Write the Parquet file, and say how it is opened."""
    parser = argparse.ArgumentParser(prog="permafrost export atlas")
    parser.add_argument("model", type=Path, help="folder of an aligner inside its project, such as data/models/default")
    parser.add_argument("out", type=Path, help="a new Parquet file")
    parser.add_argument("--dataset", help="of the project; the aligner's first if left out")
    parser.add_argument("--map", choices=("pca", "pacmap"), default="pca", help="how x and y are made (pca)")
    parser.add_argument("--most", type=_count, default=20_000, help="pairs at most, evenly spaced (20000)")
    parser.add_argument(
        "--neighbors", type=_count, default=15, help="nearest rows named with each row; 0 for none (15)"
    )
    parser.add_argument("--side", type=_count, default=160, help="largest side of a picture; 0 leaves them out (160)")
    parser.add_argument("--json", action="store_true", help="print the answer as one JSON value")
    wanted = parser.parse_args(given.rest)
    console = Console(json=wanted.json or given.json)
    from pipeline.explorer.atlas import OPTIONS, write_atlas

    done = write_atlas(
        wanted.model,
        wanted.out,
        dataset=wanted.dataset,
        plane=wanted.map,
        most=wanted.most,
        neighbours=wanted.neighbors,
        side=wanted.side,
    )
    command = f"embedding-atlas {done.path} {OPTIONS if wanted.side else OPTIONS.replace('--image image ', '')}"
    if not wanted.neighbors:
        command = command.replace("--neighbors neighbors ", "")
    console.answer({"file": done.path, "pairs": done.pairs, "unreadable": done.unreadable, "command": command})
    console.line(f"{done.path}: {done.pairs} pictures, each with a caption. Open it with:\n  {command}")
    if done.unreadable:
        console.line(console.styled(f"{done.unreadable} pictures could not be read", "yellow"))
    return int(bool(done.unreadable))


def _count(written: str) -> int:
    if not written.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, found {written!r}")
    return int(written)
