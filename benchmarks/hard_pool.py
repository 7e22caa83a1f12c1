"""Does curation help where a pool is bad? A pool made hard on purpose, curated and random subsets of it, and ablations.

    python benchmarks/hard_pool.py --root PROJECT [--seeds 3]      # a project whose default DAG has run; some minutes

From the train pictures of each split, in all drawing styles: half of the categories are targets and the others
distractors; targets are thinned to Zipf's law (the r-th keeps 1/r, at least five), distractors are not; a fifth of the
pool are near copies (their features with noise of cosine 0.99); then half of the captions are exchanged among their
pictures. Of about 1,200 pictures 150 are chosen, at random and by curations. The same closed form is fitted to each
choice and tested on clean held-out pictures of the targets: zero-shot accuracy (categories of stamps; concepts of
emoji, none of which was trained on), each class counting as much, and recall@5, the mean of both directions; each is
the mean over the two data sets. The aligner through which curations look is fitted to the whole hard pool, exchanged
captions and all.

What is compared is paired: the same split and the same seed of the pool. Intervals are of Student's t over the splits,
whose differences are means over seeds. Rows that are in the file are kept, so a run that is stopped goes on.

Prints a table and writes benchmarks/results/hard_pool.json.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from scipy.stats import t as student

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.alignment import fit_aligner  # noqa: E402
from pipeline.alignment.saved import ProjectionHeads  # noqa: E402
from pipeline.alignment.vectors import embed_stored_images, embed_stored_texts  # noqa: E402
from pipeline.config import load_config  # noqa: E402
from pipeline.curation.spaces import Side, class_texts  # noqa: E402
from pipeline.datasets.tables import JOINT_PAIRS, write_table  # noqa: E402
from pipeline.features.fingerprint import Fingerprint  # noqa: E402
from pipeline.features.layout import ArraySpec  # noqa: E402
from pipeline.features.publish import publish  # noqa: E402
from pipeline.features.reader import FeatureStore  # noqa: E402
from pipeline.features.shards import ShardWriter  # noqa: E402
from pipeline.paths import MODELS, store_folder  # noqa: E402
from stages.curate import curate  # noqa: E402

OUT = ROOT / "benchmarks" / "results" / "hard_pool.json"
DATASETS, IMAGES, TEXTS = ("emoji", "stamps"), "vit", "minilm"
CLASSES = {"emoji": "concept", "stamps": "category"}  # whose class texts the default DAG stores
SELECTED, NOISE, MISMATCHED, COPIES, LEAST = 150, 0.99, 0.5, 0.2, 5
HYGIENE = {"exact": True, "near": 0.98}
WORST = {"worst": 0.5}
TARGETS = {"concepts": [{"file": "targets.txt"}]}
PLAIN = {"balance": "none"}
ARMS: dict[str, dict[str, Any]] = {
    "classification": {"preset": "classification", **TARGETS, "hygiene": HYGIENE | WORST},
    "retrieval": {"preset": "retrieval", "hygiene": HYGIENE | WORST},
    "classification without concepts": {**PLAIN, "hygiene": HYGIENE | WORST | {"repeated": 20}},
    "classification without similarity": {"preset": "classification", **TARGETS, "hygiene": HYGIENE},
    "classification without near duplicates": {**TARGETS, "hygiene": {"exact": True, **WORST, "repeated": 20}},
    "concepts alone": {**TARGETS, "hygiene": {"exact": False}},
    "similarity alone": {**PLAIN, "hygiene": {"exact": False, **WORST}},
    "near duplicates alone": {**PLAIN, "hygiene": HYGIENE},
    "concepts by captions": {**TARGETS, "against": "captions", "hygiene": HYGIENE},
    "clusters": {"balance": "clusters", "hygiene": HYGIENE | WORST},
    "mixture": {**TARGETS, "mixture": {"concepts": 1.0, "drawn": 1.0}, "hygiene": HYGIENE | WORST},
}
PRESETS = {"classification": "accuracy", "retrieval": "recall@5"}


def make_project(root: Path, out: Path, split: int, seed: int) -> dict[str, Any]:
    """A project with one split, whose train part is hard; returns what it is made of."""
    generator = np.random.default_rng([split, seed])
    samples = pq.read_table(root / "data/splits/samples.parquet").to_pylist()
    samples = [row for row in samples if row["dataset"] in DATASETS and row["category"]]
    kinds = sorted({(row["dataset"], row["category"]) for row in samples})
    targets = []
    for name in DATASETS:
        mine = [kind for kind in kinds if kind[0] == name]
        targets += [mine[place] for place in generator.permutation(len(mine))[: (len(mine) + 1) // 2]]
    train = [row for row in samples if row[f"split_{split}"] == "train"]
    kept: list[dict[str, Any]] = []
    for kind in kinds:
        rows = [row for row in train if (row["dataset"], row["category"]) == kind]
        if kind in targets:
            most = max(LEAST, round(len(rows) / (1 + targets.index(kind))))
            rows = [rows[place] for place in sorted(generator.permutation(len(rows))[:most].tolist())]
        kept += rows
    copied = generator.permutation(len(kept))[: round(len(kept) * COPIES / (1 - COPIES))].tolist()
    copies = [kept[place] | {"image_id": f"{seed:04x}{number:028x}", "of": kept[place]["image_id"]}
              for number, place in enumerate(copied)]  # fmt: skip
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for row in pq.read_table(root / "data/splits/pairs.parquet").to_pylist():
        if row["language"] == "en" and row["role"] == "caption":
            first.setdefault((row["dataset"], row["image_id"]), row)
    pool = [row for row in [*kept, *copies] if (row["dataset"], row.get("of", row["image_id"])) in first]
    texts = [first[row["dataset"], row.get("of", row["image_id"])]["text_id"] for row in pool]
    wrong = np.zeros(len(pool), bool)
    for name in DATASETS:  # captions stay in their data set, whose store has them
        inside = np.array([place for place, row in enumerate(pool) if row["dataset"] == name])
        some = generator.permutation(inside)[: round(MISMATCHED * len(inside))]
        exchanged = [texts[place] for place in np.roll(some, 1)]
        for place, text in zip(some.tolist(), exchanged, strict=True):
            wrong[place], texts[place] = text != texts[place], text
    held = [row for row in samples if (row["dataset"], row["category"]) in targets]
    held = [row for row in held if row[f"split_{split}"] != "train" and (row["dataset"], row["image_id"]) in first]
    tested = [row for row in held if row[f"split_{split}"] == "test"]
    rows = [{**row, "split_0": "train"} for row in pool]
    rows += [{**row, "split_0": row[f"split_{split}"]} for row in held]
    columns = ("dataset", "image_id", "concept", "classname", "category", "family", "split_0")
    write_table(
        pa.Table.from_pylist([{c: row[c] for c in columns} for row in rows]), out / "data/splits/samples.parquet"
    )
    clean = [first[row["dataset"], row["image_id"]]["text_id"] for row in held]
    own = [first[row["dataset"], row["image_id"]]["text_id"] for row in tested]
    pairs = [{"dataset": row["dataset"], "image_id": row["image_id"], "text_id": text, "language": "en",
              "role": "caption"} for row, text in zip(rows, [*texts, *clean], strict=True)]  # fmt: skip
    write_table(pa.Table.from_pylist(pairs, schema=JOINT_PAIRS), out / "data/splits/pairs.parquet")
    for name in DATASETS:
        copy_store(root, out, name, [row for row in copies if row["dataset"] == name], generator)
        link(root / "data/features/pairs" / TEXTS / name, out / "data/features/pairs" / TEXTS / name)
        link(root / "data/index/pairs" / name, out / "data/index/pairs" / name)
    link(root / "data/features/prompts", out / "data/features/prompts")
    link(root / "data/index/prompts", out / "data/index/prompts")
    (out / "concepts").mkdir(exist_ok=True)
    (out / "concepts/targets.txt").write_text("\n".join(sorted({name for _, name in targets})) + "\n")
    write_params(out)
    return {"pool": len(pool), "copies": len(copies), "mismatched": int(wrong.sum()), "tested": len(tested),
            "targets": sum((row["dataset"], row["category"]) in targets for row in pool),
            "wrong": {pool[place]["image_id"] for place in np.flatnonzero(wrong)},
            "names": targets, "rows": tested, "texts": own}  # fmt: skip


def link(there: Path, here: Path) -> None:
    """A folder of the project that is only read."""
    here.parent.mkdir(parents=True, exist_ok=True)
    here.symlink_to(there.resolve(), target_is_directory=True)


def copy_store(root: Path, out: Path, name: str, copies: list[dict[str, Any]], generator: np.random.Generator) -> None:
    """The image store with further rows that are nearly those of others."""
    store = FeatureStore.open(root / "data/features/pairs" / IMAGES / name)
    ids = store.ids[store.valid].tolist()
    arrays = {key: store.array(key).take(store.rows(ids)).astype(np.float32) for key in ("cls", "mean")}
    at = store.rows([row["of"] for row in copies]) if copies else np.empty(0, np.int64)
    values = {}
    for key, array in arrays.items():
        near = store.array(key).take(at).astype(np.float32)
        noise = generator.standard_normal(near.shape, dtype=np.float32)
        lengths = np.linalg.norm(near, axis=-1, keepdims=True)
        noise *= lengths / np.linalg.norm(noise, axis=-1, keepdims=True) * np.sqrt(1 / NOISE**2 - 1)
        values[key] = np.concatenate([array, near + noise]).astype(np.float16)
    specs = [ArraySpec(key, value.shape[1:], "float16") for key, value in values.items()]
    ids += [row["image_id"] for row in copies]
    folder = out / "data/features/pairs" / IMAGES / name
    with ShardWriter(out / f"scratch-{name}", specs, ids, len(ids)) as writer:
        writer.append(values, [None] * len(ids))
        shard = writer.finish()
    found = store.fingerprint
    publish(folder, Fingerprint(found["compared"], found["described"]), specs, [shard], len(ids), {})


def write_params(out: Path) -> None:
    """params.yaml of the project with one repeat, an aligner for every arm and nothing to evaluate."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    head = params["aligners"]["default"]["head"]
    linear = {"kind": "closed-form", "local_tokens": "mean", "forms": {"cca": head["forms"]["cca"]}}
    pool = {"pool": list(DATASETS), "view": IMAGES}
    through = {**pool, "captions": TEXTS, "aligner": "first", "images": SELECTED}
    keys = ("encoders", "views", "datasets", "stores", "scenes", "prompts", "train", "encode", "seed")
    kept = {key: params[key] for key in keys}
    kept["views"] = {name: view for name, view in params["views"].items() if "concat" not in view}
    kept["train"] |= {"device": "cpu"}
    kept["splits"] = {"repeats": 1}
    kept["curations"] = {"all": pool, "random": {"method": "random", "images": SELECTED, **pool}}
    kept["concept_curations"] = {slug(name): {**through, **arm} for name, arm in ARMS.items()}
    data = {"random": "random", "everything": "all", **{slug(name): slug(name) for name in ARMS}}
    kept["aligners"] = {"first": {"views": [IMAGES, TEXTS], "data": "all", "head": linear}} | {
        name: {"views": [IMAGES, TEXTS], "data": chosen, "head": head} for name, chosen in data.items()
    }
    (out / "params.yaml").write_text(yaml.safe_dump(kept))


def slug(name: str) -> str:
    """The name of an arm in params.yaml."""
    return name.replace(" ", "-")


def figures(name: str, made: dict[str, Any]) -> dict[str, float]:
    """Zero-shot accuracy and recall@5 on the clean test part."""
    heads = ProjectionHeads.from_folder(MODELS / name, 0, torch.device("cpu"))
    accuracy, recall = [], []
    for dataset in DATASETS:
        here = [place for place, row in enumerate(made["rows"]) if row["dataset"] == dataset]
        rows, texts = [made["rows"][place] for place in here], [made["texts"][place] for place in here]
        images = embed_stored_images(
            heads, FeatureStore.open(store_folder("pairs", IMAGES, dataset)), [r["image_id"] for r in rows]
        )
        label = CLASSES[dataset]
        classes = sorted({row[label] for row in rows})
        vectors = class_texts(Side(TEXTS, "text", heads), classes)
        said = np.array(classes)[(images @ vectors.T).argmax(axis=1)]
        right = np.array([row[label] for row in rows])
        accuracy.append(np.mean([(said[right == one] == one).mean() for one in classes]))
        captions, own = np.unique(texts, return_inverse=True)
        store = FeatureStore.open(store_folder("pairs", TEXTS, dataset))
        scores = images @ embed_stored_texts(heads, store, captions.tolist()).T
        best = np.argsort(-scores, axis=1)[:, :5]
        to_text = (best == own[:, None]).any(axis=1).mean()
        best = np.argsort(-scores, axis=0)[:5]
        to_image = (own[best] == np.arange(len(captions))).any(axis=0).mean()
        recall.append((to_text + to_image) / 2)
    return {"accuracy": float(np.mean(accuracy)), "recall@5": float(np.mean(recall))}


def selected_of(name: str, made: dict[str, Any]) -> dict[str, float]:
    """What a selection is made of."""
    table = pq.read_table(f"data/curation/{name}/selected.parquet").to_pylist()
    samples = pq.read_table("data/splits/samples.parquet").to_pylist()
    kinds = {(row["dataset"], row["image_id"]): (row["dataset"], row["category"]) for row in samples}
    ids = [row["image_id"] for row in table]
    return {
        "images": len(ids),
        "mismatched": float(np.mean([one in made["wrong"] for one in ids])),
        "targets": float(np.mean([kinds[row["dataset"], row["image_id"]] in made["names"] for row in table])),
        "copies": float(np.mean([len(one) == 32 and one.startswith(f"{made['seed']:04x}0000") for one in ids])),
    }


def one_pool(root: Path, split: int, seed: int) -> list[dict[str, Any]]:
    """A row for every arm."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        made = make_project(root, Path(folder), split, seed) | {"seed": seed}
        os.chdir(folder)
        try:
            config = load_config(Path("params.yaml"))
            rows = []
            for name in ("all", "random"):
                curate(config.settings("curate", name))  # type: ignore[arg-type]
            fit_aligner(config.settings("train", "first"))  # type: ignore[arg-type]
            for name in ("everything", "random", *ARMS):
                short = slug(name)
                if name in ARMS:
                    curate(config.settings("curate", short))  # type: ignore[arg-type]
                fit_aligner(config.settings("train", short))  # type: ignore[arg-type]
                chosen = "all" if name == "everything" else short
                row = {"split": split, "seed": seed, "arm": name} | figures(short, made) | selected_of(chosen, made)
                rows.append(row)
                print(json.dumps(row), file=sys.stderr, flush=True)
        finally:
            os.chdir(before)
    facts = {key: made[key] for key in ("pool", "copies", "mismatched", "tested", "targets")}
    return [row | {f"of_{key}": value for key, value in facts.items()} for row in rows]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each arm its means and, for each figure, its paired difference from random."""
    out: dict[str, Any] = {}
    base = {(row["split"], row["seed"]): row for row in rows if row["arm"] == "random"}
    for arm in dict.fromkeys(row["arm"] for row in rows):
        mine = [row for row in rows if row["arm"] == arm]
        keys = ("accuracy", "recall@5", "images", "mismatched", "targets", "copies")
        entry: dict[str, Any] = {key: float(np.mean([row[key] for row in mine])) for key in keys}
        for figure in ("accuracy", "recall@5"):
            by_split: dict[int, list[float]] = {}
            for row in mine:
                by_split.setdefault(row["split"], []).append(row[figure] - base[row["split"], row["seed"]][figure])
            means = np.array([np.mean(values) for values in by_split.values()])
            count = len(means)
            spread = float(student.ppf(0.975, count - 1) * means.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
            pairs = [value for values in by_split.values() for value in values]
            entry[f"{figure} over random"] = {
                "mean": float(means.mean()), "low": float(means.mean() - spread), "high": float(means.mean() + spread),
                "better": int(np.sum(np.array(pairs) > 0)), "pairs": len(pairs),
            }  # fmt: skip
        out[arm] = entry
    return out


def table(found: dict[str, Any]) -> str:
    """A row for each arm, in Markdown."""
    heads = [
        "chosen by",
        "accuracy",
        "over random (95 %)",
        "recall@5",
        "over random (95 %)",
        "mismatched",
        "targets",
        "copies",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for arm, one in found.items():
        cells = [arm]
        for figure in ("accuracy", "recall@5"):
            apart = one[f"{figure} over random"]
            between = f"{100 * apart['mean']:+.1f} ({100 * apart['low']:+.1f} to {100 * apart['high']:+.1f})"
            cells += [f"{100 * one[figure]:.1f}", "" if arm == "random" else between]
        cells += [f"{100 * one[key]:.0f} %" for key in ("mismatched", "targets", "copies")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Make what is not in the file yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="a project whose default DAG has run")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3, help="pools of each split")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args(arguments)
    root, out = given.root.resolve(), given.out.resolve()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"] if out.is_file() else []
    for seed in range(given.seeds):
        for split in range(given.splits):
            if not any((row["split"], row["seed"]) == (split, seed) for row in rows):
                rows += one_pool(root, split, seed)
                found = {"selected": SELECTED, "arms": ARMS, "presets": PRESETS, "summary": summary(rows), "rows": rows}
                out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(summary(rows)))
    return {"summary": summary(rows)}


if __name__ == "__main__":
    main()
