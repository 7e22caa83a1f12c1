"""Every stage whose outputs lie under data/: seconds and peak memory of its last run here, bytes and files."""

import json
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.accounting.read import field, read_json
from pipeline.config import CLASSNAMES, RunNames
from pipeline.paths import (
    COMPARE,
    DENSE_HEADS,
    MODELS,
    PREDICTORS,
    RESULTS,
    SPLITS,
    TOY,
    checkpoint_folder,
    curation_folder,
    encode_stage,
    index_folder,
    store_folder,
)
from pipeline.timings import last_timings
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)
ENCODE_JOURNAL = Path("scratch") / "journal.jsonl"  # of the encode loop, below the work folder


def stage_costs(names: RunNames) -> list[dict[str, Any]]:
    """One entry per stage that has outputs, in the order of the DAG; less the listing of raw files, which always runs.

    `seconds` and `peak_bytes` are null where the stage did not run in this checkout: its outputs were restored. Stages
    that encode also have `rows`, and `backbone_rows` with their `backbone_seconds`, which count all runs since the
    scratch folder was made; null where it holds no such run.
    """
    timings = last_timings()
    encodes = backbone_runs()
    entries = []
    for name, outputs in _outputs(names):
        group, _, item = name.partition("@")
        size, files = written(outputs)
        timing = timings.get(name, {})
        entry = {
            "stage": name,
            "group": group,
            "seconds": timing.get("seconds"),
            "peak_bytes": timing.get("peak_bytes"),
            "output_bytes": size,
            "files": files,
        }
        if group == "encode":
            store = names.stores[item]
            entry |= {"stage": encode_stage(store.group, item), "view": store.view}
            entry |= _encode_entry(item, outputs[0], encodes)
        entries.append(entry)
    return entries


def written(outputs: Iterable[Path]) -> tuple[int, int]:
    """Bytes and number of files in files and folders.

    Every name counts, also where DVC's cache keeps two equal files as one: whether it does depends on the file system
    and on what was restored, and a stage costs the same either way.
    """
    listed = [path for output in outputs for path in (output.rglob("*") if output.is_dir() else [output])]
    sizes = [path.stat().st_size for path in listed if path.is_file()]
    return sum(sizes), len(sizes)


def backbone_runs() -> dict[tuple[str, str], dict[str, float]]:
    """What the encode loop noted: rows that went through a backbone and seconds, by store and fingerprint digest.

    The seconds are those of runs that encoded anything, loading of the model included.
    """
    path = work_folder() / ENCODE_JOURNAL
    if not path.is_file():
        return {}
    runs: dict[tuple[str, str], dict[str, float]] = defaultdict(lambda: {"rows": 0, "seconds": 0.0})
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
            if entry["encoded"]:
                run = runs[entry["store"], entry["fingerprint"]]
                run["rows"] += entry["encoded"]
                run["seconds"] += entry["seconds"]
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s: a line is passed over (%s: %s)", path, type(error).__name__, error)
    return dict(runs)


def _encode_entry(item: str, folder: Path, encodes: Mapping[tuple[str, str], Mapping[str, float]]) -> dict[str, Any]:
    path = folder / "zarr.json"
    attributes = read_json(path)
    digest = field(attributes, "attributes.fingerprint.digest", path)
    run = encodes.get((item, digest))
    return {
        "rows": field(attributes, "attributes.rows", path),
        "backbone_rows": int(run["rows"]) if run else None,
        "backbone_seconds": round(run["seconds"], 3) if run else None,
    }


def _outputs(names: RunNames) -> list[tuple[str, list[Path]]]:
    """Stages that params.yaml names and what they wrote, where that is there."""
    stores = names.stores
    listed = [
        *((f"checkpoint@{name}", [checkpoint_folder(name)]) for name in sorted(names.encoders)),
        *((f"index@{name}", [index_folder("pairs", name)]) for name in sorted(names.datasets)),
        *((f"scenes@{name}", [index_folder("scenes", name)]) for name in names.scenes),
        ("splits", [SPLITS]),
        ("prompts", [index_folder("prompts", CLASSNAMES)]),
        *((f"encode@{name}", [store_folder(s.group, s.view, s.dataset)]) for name, s in stores.items()),
        *((f"compare@{name}", [COMPARE / name]) for name in names.compare),
        *((f"toy@{name}", [TOY / name]) for name in names.toy),
        *((f"predictors@{name}", [PREDICTORS / name]) for name in names.predictors),
        *((f"curate@{name}", [curation_folder(name)]) for name in sorted(names.curations)),
        *((f"train@{name}", [MODELS / name]) for name in sorted(names.aligners)),
        *((f"dense@{name}", [DENSE_HEADS / name]) for name in sorted(names.dense_heads)),
        *((f"evaluate@{task}", sorted(RESULTS.glob(f"{task}.*"))) for task in sorted(names.tasks)),
    ]
    return [(name, outputs) for name, outputs in listed if outputs and all(path.exists() for path in outputs)]
