"""The zero-shot table of the paper's data sets, of every aligner, from folders in CLIP_benchmark's layout.

    python -m pipeline.interop.zero_shot_sets /data/wds             # edit params.yaml, dvc repro, print the table
    python -m pipeline.interop.zero_shot_sets /data/wds --edit-only
    python -m pipeline.interop.zero_shot_sets --table               # print it again

Every folder of /data/wds with a classnames.txt becomes a data set for evaluation alone, named as the folder without
`wds_` and `vtab-`; run it at the root of a project. Comments and order of params.yaml are kept.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import load_config
from pipeline.errors import ConfigError, DataError
from pipeline.failures import reported
from pipeline.paths import RESULTS

# the columns of the paper's table, and the folders in which CLIP_benchmark publishes them where it does
PAPER = {
    "ImageNet": "imagenet1k",
    "ImageNetV2": "imagenetv2",
    "Caltech": "caltech101",
    "Pets": "pets",
    "Cars": "cars",
    "Flowers": "flowers",
    "Food": "food101",
    "Aircraft": "fgvc_aircraft",
    "SUN": "sun397",
    "CUB": "cub",
    "UCF101": "ucf101",
}
_CLASSES = ("evaluate", "tasks", "classification", "classes")
_PREFIX = re.compile(r"^(wds_)?(vtab[-_])?")


def find_sets(root: Path) -> dict[str, Path]:
    """Folders with a classnames.txt in `root`, by the name that their data set gets.

    Raises:
        DataError: there are none, or two would get the same name.
    """
    sets: dict[str, Path] = {}
    for path in sorted(root.glob("*/classnames.txt")):
        name = re.sub(r"[^a-z0-9._-]+", "-", _PREFIX.sub("", path.parent.name.lower()))
        if name in sets:
            raise DataError(f"{sets[name]} and {path.parent} would both be data set {name!r}; rename one of them.")
        sets[name] = path.parent.resolve()
    if not sets:
        raise DataError(
            f"No folder of {root} has a classnames.txt. Fetch one, for example with: hf download "
            f"clip-benchmark/wds_food101 --repo-type dataset --local-dir {root}/wds_food101"
        )
    return sets


def add_sets(params_file: Path, sets: dict[str, Path]) -> list[str]:
    """Add to params.yaml what `evaluate@classification` needs of each data set that it lacks; returns the names added.

    Stores are added for the image view of every aligner, since each is evaluated on every set.

    Raises:
        ConfigError: params.yaml is not valid, before or after; then it stays as it was.
    """
    before = params_file.read_text(encoding="utf-8")
    config = load_config(params_file)
    params, of_view = config.params, config.params.stored_views
    views = sorted({view for one in params.named_aligners.values() for view in params.members(one.views[0])})
    added = [name for name in sets if name not in config.section("datasets")]
    lines = before.splitlines()
    for name in added:
        path = json.dumps(str(sets[name]))
        _insert(lines, ("datasets",), f"{name}: {{source: clip-benchmark, path: {path}, transfer: true}}")
        for view in views:
            store = f"{{dataset: {name}, view: {view}, encoder: {of_view[view].encoder}}}"
            _insert(lines, ("stores", "pairs"), f"{name}-{view}: {store}")
        _insert(lines, _CLASSES, f"- {{dataset: {name}, label: concept}}")
    params_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        task = load_config(params_file).section("evaluate.tasks").classification
        asked = {entry.dataset for entry in task.classes} if task else set()
        if not asked.issuperset(added):
            raise ConfigError(f"{params_file} is laid out so that entries cannot be added; add them by hand.")
    except ConfigError:
        params_file.write_text(before, encoding="utf-8")
        raise
    return added


def _insert(lines: list[str], section: tuple[str, ...], line: str) -> None:
    """Put `line` at the end of a block of the file; the file is edited as text so that comments and columns stay."""
    line = "  " * len(section) + line
    start, end = 0, len(lines)
    for depth, key in enumerate(section):
        head = re.compile(rf"{'  ' * depth}{key}:\s*(#.*)?$")
        start = next((n for n in range(start, end) if head.match(lines[n])), -1)
        if start < 0:
            raise ConfigError(f"params.yaml has no block `{'.'.join(section)}:` to add to; add by hand:\n{line}")
        outside = re.compile(rf" {{0,{2 * depth}}}[^\s#]")
        end = next((n for n in range(start + 1, end) if outside.match(lines[n])), end)
    while not lines[end - 1].strip() or lines[end - 1].startswith("#"):
        end -= 1
    lines.insert(end, line)


def zero_shot_table(names: Sequence[str], results: Path = RESULTS) -> Iterator[str]:
    """Lines of a table: top-1 in percent of each aligner and prompt set by data set, chance first.

    Raises:
        DataError: the task was not evaluated, or on none of these sets.
    """
    path = results / "classification.json"
    if not path.is_file():
        raise DataError(f"There are no results at {path}. Run: dvc repro evaluate@classification")
    rows: list[dict[str, Any]] = [
        row
        for row in json.loads(path.read_text(encoding="utf-8"))["rows"]
        if row["metric"] == "concept_top1_accuracy" and row["dataset"] in names
    ]
    columns = [name for name in [*PAPER.values(), *sorted(set(names))] if any(r["dataset"] == name for r in rows)]
    columns = list(dict.fromkeys(columns))
    if not columns:
        raise DataError(f"{path} has no figure for any of {', '.join(names)}. Run: dvc repro evaluate@classification")
    titles = {folder: title for title, folder in PAPER.items()}
    cells: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        cells.setdefault(("chance", ""), {})[row["dataset"]] = row["chance"]
        cells.setdefault((row["aligner"], row["prompt_set"]), {})[row["dataset"]] = row["value"]
    yield f"{'top-1, %':32}" + "".join(f"{titles.get(name, name):>12}" for name in columns)
    for (aligner, prompts), values in cells.items():
        label = f"{aligner} ({prompts})" if prompts else aligner
        yield f"{label:32}" + "".join(
            f"{100 * values[name]:12.1f}" if name in values else f"{'-':>12}" for name in columns
        )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, nargs="?", help="folder of folders in CLIP_benchmark's webdataset layout")
    parser.add_argument("--edit-only", action="store_true", help="edit params.yaml and stop")
    parser.add_argument("--table", action="store_true", help="print the table of the last run")
    given = parser.parse_args()
    params_file = Path("params.yaml")
    if given.root is not None:
        if not given.root.is_dir():
            raise DataError(f"{given.root} is not a folder.")
        added = add_sets(params_file, find_sets(given.root))
        print(f"params.yaml: {', '.join(added) or 'no data set'} added", file=sys.stderr)
        if given.edit_only:
            return
        done = subprocess.run(["dvc", "repro", "evaluate@classification"], check=False)
        if done.returncode:
            raise DataError("dvc repro evaluate@classification failed; its message is above.")
    elif not given.table:
        parser.error("name a folder, or --table")
    datasets = load_config(params_file).section("datasets")
    names = [name for name, dataset in datasets.items() if getattr(dataset, "transfer", False)]
    for line in zero_shot_table(names):
        print(line)


if __name__ == "__main__":
    with reported("python -m pipeline.interop.zero_shot_sets"):
        _main()
