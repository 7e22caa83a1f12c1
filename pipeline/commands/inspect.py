"""`permafrost inspect`: what a folder of this project is."""

import argparse
import json
from pathlib import Path
from typing import Any

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console, printable
from pipeline.errors import DataError

_EXAMPLES = """\
  permafrost inspect                                   the project here: data, encoders, stores, aligners
  permafrost inspect data/models/default               an aligner: encoders, head, data, validation
  permafrost inspect data/features/pairs/vit/emoji     a feature store
  permafrost inspect data/checkpoints/vit-s14          an encoder
  permafrost inspect data/index/pairs/emoji            a data set"""
Facts = dict[str, Any]


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("inspect", run, "say what an aligner, a store, an encoder or a data set is", _EXAMPLES)
    command.add_argument("folder", nargs="?", type=Path, help="the project in the working directory if left out")


def run(given: argparse.Namespace, console: Console) -> int:
    """Facts as lines; those of a project as a table."""
    if given.folder is None:
        return _project(console)
    facts = _facts(given.folder.expanduser())
    console.answer(facts)
    wide = max(map(len, facts))
    for name, value in facts.items():
        style = "green" if name == "is" else "dim" if value is None else None
        shown = console.styled(_shown(value), style) if style else printable(_shown(value))
        console.line(f"{console.styled(f'{name:{wide}}', 'bold')}  {shown}")
    return 0


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(entry)}" for key, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _facts(folder: Path) -> Facts:
    """What a folder is, told by the file that each kind has.

    Raises:
        DataError: none of the kinds.
    """
    if not folder.is_dir():
        raise DataError(f"No folder at {folder} (looked from {Path.cwd()}).")
    for file, facts in (("zarr.json", _store), ("config.json", _aligner), ("permafrost.json", _encoder),
                        ("about.json", _dataset)):  # fmt: skip
        if (folder / file).is_file() and (file != "config.json" or not (folder / "permafrost.json").is_file()):
            return facts(folder)
    raise DataError(
        f"{folder} is no feature store (zarr.json), aligner (config.json), encoder (permafrost.json) or data set "
        "(about.json)."
    )


def _store(folder: Path) -> Facts:
    from pipeline.features import FeatureStore
    from pipeline.store.listing import describe

    listed, fingerprint = describe(folder), FeatureStore.open(folder).fingerprint
    return {
        "is": "a feature store", "folder": str(folder), "rows": listed.rows, "failed": listed.failed,
        "megabytes": round(listed.bytes / 1e6, 1), "arrays": list(listed.arrays), "encoder": listed.encoder,
        "digest": listed.digest, **{key: value for key, value in fingerprint.get("compared", {}).items()
                                    if isinstance(value, str | int | float) and key != "weights_sha256"},
    }  # fmt: skip


def _aligner(folder: Path) -> Facts:
    from pipeline.alignment import HeadConfig

    config = HeadConfig.read(folder)
    metrics = folder / "metrics.json"
    found = json.loads(metrics.read_text(encoding="utf-8")) if metrics.is_file() else {}
    encoders: dict[str, str] = {}
    for side, one in config.encoders:
        model, modality = str(one.get("described", {}).get("model", "unknown")), config.modality(side)
        encoders[modality] = f"{encoders[modality]} + {model}" if modality in encoders else model
    views = {config.modality(side): view for side, view in config.views.items()}
    return {
        "is": "an aligner", "name": config.aligner, "head": config.kind, "encoders": encoders, "views": views,
        "embed_dim": config.embed_dim, "fitted to": list(config.data), "repeats": config.repeats,
        "parameters": config.parameters, "validation recall": found.get("validation_recall"),
        "seconds": found.get("seconds"),
    }  # fmt: skip


def _encoder(folder: Path) -> Facts:
    from pipeline.encoders.manifest import read_manifest

    manifest = read_manifest(folder)
    return {
        "is": f"an encoder ({manifest.modality})", "model": manifest.model, "source": manifest.source,
        "loader": manifest.loader, "revision": manifest.resolved_revision, "files": len(manifest.files),
        "weights_sha256": manifest.weights_sha256,
    }  # fmt: skip


def _dataset(folder: Path) -> Facts:
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    facts = {"is": "a data set", "name": folder.name, "source": about.get("source"), **about.get("counts", {})}
    languages = about.get("texts_per_language", {})
    return facts | ({"texts per language": languages} if len(languages) > 1 else {})


def _project(console: Console) -> int:
    from pipeline.config import load_config
    from pipeline.paths import MODELS, checkpoint_folder, index_folder, store_folder

    params = load_config().params
    rows = [("data set", name, index_folder("pairs", name)) for name in params.datasets]
    rows += [("encoder", name, checkpoint_folder(name)) for name in params.encoders]
    rows += [
        ("store", name, store_folder(one.group, one.view, one.dataset)) for name, one in params.stores.by_name().items()
    ]
    rows += [("aligner", name, MODELS / name) for name in params.all_aligners]
    console.answer(
        [{"is": kind, "name": name, "folder": folder, "made": folder.is_dir()} for kind, name, folder in rows]
    )
    console.table(
        ["is", "name", "folder", "made"],
        [(kind, name, folder, "yes" if folder.is_dir() else "not yet") for kind, name, folder in rows],
    )
    return 0
