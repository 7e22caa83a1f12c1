"""`permafrost verify`: every file of feature stores against its checksum."""

import argparse
from pathlib import Path
from typing import Any

from pipeline.commands.adder import Adder
from pipeline.commands.console import Console
from pipeline.errors import StoreError
from pipeline.object_url import is_object_url, object_url

_EXAMPLES = """\
  permafrost verify                                   all stores below data/features
  permafrost verify data/features/pairs/vit/emoji     one of them
  permafrost verify s3://bucket/features/emoji        one on an object store
  permafrost verify --json | jq .intact"""


def add(commands: Adder) -> None:
    """Add the subcommand."""
    command = commands("verify", run, "read every file of feature stores and compare its checksum", _EXAMPLES)
    command.add_argument(
        "stores", nargs="*", type=Path, help="folders or addresses of stores; all below data/features if none"
    )


def run(given: argparse.Namespace, console: Console) -> int:
    """As `python -m pipeline.store verify`; as JSON, or in a folder without dvc.yaml, of the stores alone."""
    if not console.json and Path("dvc.yaml").is_file():
        from pipeline.store.__main__ import main

        return main(["verify", *map(str, given.stores)])
    from pipeline.features.objects.check import verify_anywhere
    from pipeline.store.listing import stores

    answers: list[dict[str, Any]] = []
    for folder in given.stores or stores():
        try:
            result = verify_anywhere(folder)
            damages = [str(damage) for damage in result.damages]
            answers.append(
                {"store": _named(folder), "intact": result.intact, "files": result.files, "damages": damages}
            )
        except StoreError as error:
            answers.append({"store": _named(folder), "intact": False, "files": 0, "damages": [str(error)]})
    intact = all(answer["intact"] for answer in answers)
    if console.json:
        console.answer({"intact": intact, "stores": answers})
    else:
        for answer in answers:
            print(f"{answer['store']}: {'intact' if answer['intact'] else 'damaged'}, {answer['files']} files")
            for damage in answer["damages"]:
                print(f"    {damage}")
    return int(not intact)


def _named(store: Path) -> Path | str:
    return object_url(store) if is_object_url(store) else store
