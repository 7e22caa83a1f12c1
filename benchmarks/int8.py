"""int8 against float16 features: bytes, error, and held-out scores of Freeze-Align, both trained and evaluated.

    make repro && python benchmarks/int8.py [--seeds 5]

Run at the root of a project that was reproduced. No backbone is run: the float16 rows of its stores go through the
encode loop once more, into int8 stores in a temporary folder. (Rounding to float16 first moves a value by 1/8 of a
code's width at most.) Each seed gives the initialisation and order of every repeat; the splits are those of the
project. Prints tables and writes benchmarks/results/int8.json.
"""

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.accounting.machine import describe_machine  # noqa: E402
from pipeline.alignment import fit_aligner  # noqa: E402
from pipeline.config import (  # noqa: E402
    CLASSNAMES,
    EvaluatedAligner,
    EvaluateSettings,
    TrainSettings,
    fit_of,
    load_config,
)
from pipeline.encoding.plan import Plan  # noqa: E402
from pipeline.encoding.protocol import Batch  # noqa: E402
from pipeline.encoding.run import StoreEncoder  # noqa: E402
from pipeline.evaluation import evaluate_task  # noqa: E402
from pipeline.features import ArraySpec, FeatureStore, Fingerprint  # noqa: E402
from pipeline.features.quantised import stored_specs  # noqa: E402
from pipeline.paths import WORK_VARIABLE, store_folder  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "int8.json"
LINKED = ("splits", "index", "curation")
MEASURES = {
    "retrieval": ("i2t_recall@1_en", "i2t_recall@10_en", "t2i_recall@1_en", "t2i_recall@10_en"),
    "classification": (
        "concept_top1_accuracy_ensemble_en",
        "concept_top5_accuracy_ensemble_en",
        "category_top1_accuracy_ensemble_en",
    ),
}


class StoredRows:
    """A `RowEncoder` whose features are those of another store."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self.specs = tuple(ArraySpec(name, store.shape(name)[1:], "int8") for name in store.names)
        self.notes: dict[str, object] = {
            key: store.attributes[key] for key in ("patch_grid", "batch_size") if key in store.attributes
        }

    def encode(self, ids: Sequence[str]) -> Iterator[Batch]:
        """See `RowEncoder`."""
        rows = [int(np.flatnonzero(self._store.ids == identifier)[0]) for identifier in ids]
        arrays = {name: self._store.array(name).take(np.array(rows)).astype(np.float32) for name in self._store.names}
        yield Batch(list(range(len(ids))), arrays, [self._store.reasons.get(identifier) for identifier in ids])


def quantise(source: Path, target: Path) -> dict[str, Any]:
    """Write the int8 form of a float16 store; returns bytes of the arrays and relative errors of its tokens."""
    store = FeatureStore.open(source)
    fingerprint = Fingerprint(store.fingerprint["compared"] | {"stored_dtype": "int8"}, store.fingerprint["described"])
    plan = Plan(tuple(store.ids.tolist()), int(store.attributes["shard_rows"]))
    StoreEncoder(str(target), fingerprint, lambda: StoredRows(store), 1.0).run(plan, target)
    small = FeatureStore.open(target)
    errors, cosines = [], []
    for name in store.names:
        a = store.read(name, store.ids[store.valid]).astype(np.float32)
        b = small.read(name, store.ids[store.valid]).astype(np.float32)
        sizes = np.linalg.norm(a, axis=-1)
        kept = sizes > 0
        errors.append((np.linalg.norm(a - b, axis=-1)[kept] / sizes[kept]).ravel())
        cosines.append(((a * b).sum(-1)[kept] / (sizes * np.linalg.norm(b, axis=-1))[kept]).ravel())
    joined = np.concatenate(errors)
    return {
        "rows": len(store),
        "bytes": {dtype: payload(folder) for dtype, folder in (("float16", source), ("int8", target))},
        "bytes_per_row": {
            dtype: sum(
                spec.row_bytes
                for spec in stored_specs(ArraySpec(name, store.shape(name)[1:], dtype) for name in store.names)
            )
            for dtype in ("float16", "int8")
        },
        "relative_error": {"mean": float(joined.mean()), "max": float(joined.max())},
        "smallest_cosine": float(np.concatenate(cosines).min()),
    }


def payload(folder: Path) -> int:
    """Bytes of all shard files of a store."""
    return sum(path.stat().st_size for path in folder.rglob("c/**/*") if path.is_file())


def main() -> None:
    """Quantise, train, evaluate, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    project = Path.cwd()
    config = load_config(project / "params.yaml")
    trained = config.settings("train", "freeze-align")
    assert isinstance(trained, TrainSettings)
    plain = fit_of(config.params, config.section("aligners.freeze-align"))
    with tempfile.TemporaryDirectory() as temporary:
        os.environ[WORK_VARIABLE] = str(Path(temporary) / "work")
        os.chdir(temporary)
        Path("data").mkdir()
        for name in LINKED:
            Path("data", name).symlink_to(project / "data" / name)
        stores: dict[str, Any] = {}
        wanted = [("pairs", view, dataset) for view in (plain.image, plain.text) for dataset in plain.datasets]
        for group, view, dataset in [*wanted, ("prompts", plain.text, CLASSNAMES)]:
            source = project / store_folder(group, view, dataset)
            here = store_folder(group, view, dataset)
            here.parent.mkdir(parents=True, exist_ok=True)
            here.symlink_to(source)
            stores[f"{view}/{dataset}"] = quantise(source, store_folder(group, f"{view}-int8", dataset))
        int8 = plain.model_copy(update={"image": f"{plain.image}-int8", "text": f"{plain.text}-int8"})
        fits = {"float16": plain, "int8": int8}
        evaluate = config.section("evaluate").model_copy(
            update={"control": "float16", "versus": {}, "showcase": "float16"}
        )
        tasks = config.params.evaluate.named
        tasks["classification"] = tasks["classification"].model_copy(update={"prompt_sets": ("ensemble",)})
        runs: list[dict[str, Any]] = []
        for seed in range(given.seeds):
            for name, fit in fits.items():
                fit_aligner(trained.model_copy(update={"name": name, "fit": fit, "seed": seed}))
            runs.append({})
            for task in MEASURES:
                settings = EvaluateSettings(
                    name=task,
                    task=tasks[task],
                    evaluate=evaluate,
                    aligners={name: EvaluatedAligner(fit=fit) for name, fit in fits.items()},
                    repeats=trained.repeats,
                    seed=seed,
                )
                runs[-1][task] = evaluate_task(settings)
            print(f"seed {seed} done", file=sys.stderr)
    report(stores, runs, given.seeds)


def report(stores: dict[str, Any], runs: list[dict[str, Any]], seeds: int) -> None:
    """Print both tables and write the results."""
    print("bytes of shard files (the last chunk of an array is padded) and of one row; relative error of a token")
    heads = ("rows", "float16 MB", "int8 MB", "row", "mean error", "max error", "cosine >=")
    print(f"{'store':20}" + "".join(f"{head:>12}" for head in heads))
    for name, found in stores.items():
        wide, small = found["bytes"]["float16"], found["bytes"]["int8"]
        row, error = found["bytes_per_row"], found["relative_error"]
        print(
            f"{name:20}{found['rows']:12}{wide / 1e6:12.2f}{small / 1e6:12.2f}{row['int8'] / row['float16']:12.3f}"
            f"{error['mean']:12.4f}{error['max']:12.4f}{found['smallest_cosine']:12.5f}"
        )
    table = []
    for task, measures in MEASURES.items():
        rows = [{(row.dataset, row.measure, row.aligner): row for row in run[task].rows} for run in runs]
        for dataset, measure in sorted({key[:2] for key in rows[0] if key[1] in measures}):
            values = {name: [run[dataset, measure, name].value for run in rows] for name in ("float16", "int8")}
            pairs = [b - a for a, b in zip(values["float16"], values["int8"], strict=True)]
            sd = {name: statistics.stdev(found) if seeds > 1 else None for name, found in values.items()}
            table.append(
                {
                    "dataset": dataset,
                    "measure": measure,
                    "chance": rows[0][dataset, measure, "float16"].chance,
                    "mean": {name: statistics.fmean(found) for name, found in values.items()},
                    "sd_seeds": sd,
                    "difference": {"mean": statistics.fmean(pairs), "largest": max(pairs, key=abs)},
                    "within_spread": sd["float16"] is None or abs(statistics.fmean(pairs)) <= sd["float16"],
                }
            )
    print(f"\n{'':45}{'chance':>8}{'float16':>16}{'int8':>16}{'difference':>12}")
    for line in table:
        cells = "".join(f"{line['mean'][n]:9.4f} ±{line['sd_seeds'][n] or 0:.4f}" for n in ("float16", "int8"))
        name = f"{line['dataset']} {line['measure']}"
        print(f"{name:45}{line['chance']:8.4f}{cells}{line['difference']['mean']:+12.4f}")
    content = {"machine": describe_machine(), "seeds": seeds, "stores": stores, "scores": table}
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
