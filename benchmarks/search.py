"""Search over a million vectors and more: exact and indexed, beside FAISS and a plain scan of NumPy.

    python benchmarks/search.py                                      # 1 M x 384, some minutes on two cores
    python benchmarks/search.py --rows 10000000 --dtype int8 --lists 4096

Vectors are synthetic and seeded, at unit length: around a common mean lie topics, around these groups of 200, around
these the vectors, and standard deviations fall off from number to number, as those of real embeddings do in their main
directions. Queries are drawn around the same groups, farther off, as texts lie farther from pictures than pictures from
each other; none is a vector. Every system runs in a process of its own on the same files
and queries with the same number of threads, one after the other. Latency is of one query at a time and of batches of
100, after a warm-up; recall is the share of the true 10 nearest, by products in float64 of the vectors as they were
before they were stored in another dtype (of int8, of what is stored). Memory is what the process holds itself, plus
pages of files that it has mapped, less what its libraries take.

Prints a table and writes benchmarks/results/search.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

OUT = ROOT / "benchmarks" / "results" / "search.json"
TOPIC, GROUP = 20_000, 200  # vectors in one
FALL = -0.5  # of standard deviations, as a power of the number's place
TOPICS, GROUPS, VECTORS, FARTHER = 0.8, 0.8, 0.9, 1.3  # how far they lie from what they belong to
K, BATCH, TUNING = 10, 100, 200
BLOCK = 65536
Search = Callable[[np.ndarray], np.ndarray]  # queries (Q, K) -> rows (Q, 10)
SYSTEMS = {
    "numpy": "NumPy: all products, argpartition",
    "exact": "exact (ours)",
    "exact-half": "exact (ours), float16 on disk",
    "faiss-flat": "FAISS flat",
    "ivf-sq8": "index ivf-sq8 (ours)",
    "faiss-ivf-sq8": "FAISS: the same lists alone",
    "ivf-pq": "index ivf-pq (ours)",
    "faiss-ivf-pq": "FAISS: the same lists alone",
}
BUILT = ("ivf-sq8", "ivf-pq")
INT8_SYSTEMS = tuple(name for name in SYSTEMS if name != "exact-half")


def make_vectors(folder: Path, rows: int, width: int, dtype: str, queries: int, seed: int) -> None:
    """Write vectors.npy, for float32 also half.npy, and queries.npy."""
    from pipeline.inference.collection_files import open_vectors

    generator = np.random.default_rng(seed)
    fall = np.arange(1, width + 1, dtype=np.float32) ** FALL

    def noise(count: int) -> np.ndarray:
        drawn: np.ndarray = generator.standard_normal((count, width), dtype=np.float32) * fall
        return drawn

    topics = noise(1) + TOPICS * noise(max(8, rows // TOPIC))
    count = max(64, rows // GROUP)
    groups = topics[generator.integers(len(topics), size=count)] + GROUPS * noise(count)

    def around(count: int, spread: float) -> np.ndarray:
        drawn = groups[generator.integers(len(groups), size=count)] + spread * noise(count)
        unit: np.ndarray = drawn / np.maximum(np.linalg.norm(drawn, axis=1, keepdims=True), 1e-6)
        return unit

    names = {"vectors.npy": dtype} | ({"half.npy": "float16"} if dtype == "float32" else {})
    files = [open_vectors(folder / name, rows, width, kind) for name, kind in names.items()]
    for start in range(0, rows, BLOCK):
        block = around(min(BLOCK, rows - start), VECTORS)
        for file in files:
            file.append(block)
    for file in files:
        file.__exit__(None)
    np.save(folder / "queries.npy", around(queries, VECTORS * FARTHER))


def load(path: Path, mapped: Literal["r"] | None = None) -> np.ndarray:
    """An array that this benchmark wrote."""
    array: np.ndarray = np.load(path, mmap_mode=mapped, allow_pickle=False)
    return array


def held() -> dict[str, int]:
    """Bytes of this process: of its own, and of files that are mapped."""
    fields = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("RssAnon", "RssFile"):
            fields[name] = int(value.split()[0]) * 1024
    return {"own": fields.get("RssAnon", 0), "mapped": fields.get("RssFile", 0)}


def prepare(system: str, folder: Path) -> tuple[Search, dict[str, Any]]:
    """A system that is ready to search, and what is to be told of it."""
    from pipeline.inference.vector_index import VectorIndex
    from pipeline.inference.vectors import VectorRows
    from pipeline.vector_files import read_vectors

    if system in ("numpy", "faiss-flat"):
        vectors = load(folder / "vectors.npy")
        if system == "numpy":
            return plain_scan(vectors), {}
        return faiss_flat(vectors), {}
    file = folder / ("half.npy" if system == "exact-half" else "vectors.npy")
    rows = VectorRows([read_vectors(file, "fi")], [file])
    if system.startswith("exact"):
        return lambda queries: rows.nearest(queries, K).rows, {}
    kind = system.removeprefix("faiss-")
    saved = folder / f"{kind}.index"
    index = VectorIndex.open(saved, rows)
    about = index.about
    facts = {
        "lists": about.lists,
        "searched": about.probes,
        "code_bytes": about.code,
        "rescored": about.rescored,
    }
    if kind == system:
        return lambda queries: index.search(queries, K).rows, facts
    import faiss

    alone, options = index._index, faiss.SearchParametersIVF(nprobe=about.probes)
    return lambda queries: alone.search(queries, K, params=options)[1], facts


def build(kind: str, folder: Path, lists: int | None) -> dict[str, Any]:
    """Build an index and save it."""
    from pipeline.inference.vector_index import build_index, plan_index
    from pipeline.inference.vectors import VectorRows
    from pipeline.vector_files import read_vectors

    file = folder / "vectors.npy"
    rows = VectorRows([read_vectors(file, "fi")], [file])
    before = held()["own"]
    plan = plan_index(len(rows), rows.width, kind=kind, lists=lists)  # type: ignore[arg-type]
    built = build_index(rows, plan, load(folder / "queries.npy")[-TUNING:], queries_are="held-out queries")
    built.index.save(folder / f"{kind}.index")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"build_seconds": built.index.about.seconds, "build_peak_bytes": peak - before - file.stat().st_size}


def plain_scan(vectors: np.ndarray) -> Search:
    """The 10 largest products of each query, as one would write it; of int8 block by block."""
    if vectors.dtype == np.float32:
        return lambda queries: largest(queries @ vectors.T)
    blocks = [slice(start, start + BLOCK) for start in range(0, len(vectors), BLOCK)]
    lengths = np.concatenate([np.linalg.norm(vectors[block].astype(np.float32), axis=1) for block in blocks])

    def search(queries: np.ndarray) -> np.ndarray:
        scores = np.empty((len(queries), len(vectors)), np.float32)
        for block in blocks:
            scores[:, block] = queries @ vectors[block].astype(np.float32).T
        scores /= lengths
        return largest(scores)

    return search


def largest(scores: np.ndarray) -> np.ndarray:
    """The 10 columns (Q, 10) of the largest scores (Q, N), best first."""
    best = np.argpartition(scores, -K, axis=1)[:, -K:]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    return np.take_along_axis(best, order, axis=1)


def faiss_flat(vectors: np.ndarray) -> Search:
    """FAISS's own exact scan, of float32, or for int8 of its 8 bits a number fitted to the vectors at unit length."""
    import faiss

    def block(start: int) -> np.ndarray:
        unit = vectors[start : start + BLOCK].astype(np.float32)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        return unit

    width = vectors.shape[1]
    if vectors.dtype == np.float32:
        flat: Any = faiss.IndexFlatIP(width)
    else:
        flat = faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        flat.train(block(0))
    for start in range(0, len(vectors), BLOCK):
        flat.add(block(start))
    return lambda queries: flat.search(queries, K)[1]


def measure(system: str, folder: Path, singles: int, batches: int) -> dict[str, Any]:
    """One system, in this process."""
    import faiss
    import torch

    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    import pipeline.inference.vector_index  # noqa: F401 (its libraries are not the system's memory)

    before = held()
    started = time.perf_counter()
    search, facts = prepare(system, folder)
    facts["open_seconds"] = round(time.perf_counter() - started, 2)
    queries = load(folder / "queries.npy")[:-TUNING]
    search(queries[:1])
    alone = []
    for one in queries[:singles, None]:
        begun = time.perf_counter()
        search(one)
        alone.append(time.perf_counter() - begun)
    together, found = [], []
    for start in range(0, min(len(queries), batches * BATCH), BATCH):
        begun = time.perf_counter()
        found.append(search(queries[start : start + BATCH]))
        together.append(time.perf_counter() - begun)
    after = held()
    np.save(folder / f"{system}.npy", np.concatenate(found))
    return {
        **facts,
        "single_ms": {"p50": 1e3 * float(np.median(alone)), "p95": 1e3 * float(np.quantile(alone, 0.95))},
        "batch_ms": {"p50": 1e3 * float(np.median(together)), "p95": 1e3 * float(np.quantile(together, 0.95))},
        "memory_bytes": {name: max(0, after[name] - before[name]) for name in after},
    }


def truth(folder: Path, count: int, k: int) -> np.ndarray:
    """The true nearest rows (count, k) of the first queries, in any order, by products in float64."""
    vectors = load(folder / "vectors.npy", "r")
    queries = load(folder / "queries.npy")[:count].astype(np.float64)
    rows, scores = np.empty((count, 0), np.int64), np.empty((count, 0))
    for start in range(0, len(vectors), BLOCK):
        block = vectors[start : start + BLOCK].astype(np.float64)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        here = np.broadcast_to(np.arange(start, start + len(block)), (count, len(block)))
        rows, scores = np.concatenate([rows, here], axis=1), np.concatenate([scores, queries @ block.T], axis=1)
        if scores.shape[1] > k:
            best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            rows, scores = np.take_along_axis(rows, best, axis=1), np.take_along_axis(scores, best, axis=1)
    return rows


def table(results: dict[str, Any]) -> str:
    """A row for each system, in Markdown."""
    heads = ["", "one query, p50 / p95 ms", "100 queries, p50 / p95 ms", "recall@10", "memory MB (+ mapped)",
             "build + open, s"]  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, one in results.items():
        memory = one["memory_bytes"]
        build = f"{one['build_seconds']:.0f} + " if "build_seconds" in one else ""
        times = [f"{one[key]['p50']:.2f} / {one[key]['p95']:.2f}" for key in ("single_ms", "batch_ms")]
        megabytes = f"{memory['own'] / 1e6:,.0f} (+ {memory['mapped'] / 1e6:,.0f})"
        seconds = f"{build}{one['open_seconds']:.1f}"
        cells = [SYSTEMS[name], *times, f"{one['recall@10']:.4f}", megabytes, seconds]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Make vectors, run every system in its own process, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--dtype", default="float32", choices=("float32", "int8"))
    parser.add_argument("--lists", type=int, help="of the indexes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--singles", type=int, default=100, help="queries that are asked one by one")
    parser.add_argument("--batches", type=int, default=5, help="of 100 queries")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, help="all of them where left out")
    parser.add_argument("--folder", type=Path, help="for the vectors; a temporary one where left out")
    parser.add_argument("--note", default="", help="kept with the figures, such as: other programs were running")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--system", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--build", choices=BUILT, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.build is not None:
        print(json.dumps(build(given.build, given.folder, given.lists)))
        return {}
    if given.system is not None:
        print(json.dumps(measure(given.system, given.folder, given.singles, given.batches)))
        return {}
    from pipeline.accounting.machine import describe_machine

    with tempfile.TemporaryDirectory(dir=given.folder) as temporary:
        folder, count = Path(temporary), given.batches * BATCH
        queries = max(count, given.singles) + TUNING
        make_vectors(folder, given.rows, given.width, given.dtype, queries, given.seed)
        right = truth(folder, count, K)
        wanted = given.systems or (INT8_SYSTEMS if given.dtype == "int8" else tuple(SYSTEMS))
        kinds = [kind for kind in BUILT if {kind, f"faiss-{kind}"} & {*wanted}]
        building = {kind: run(["--build", kind], folder, given) for kind in kinds}
        results: dict[str, Any] = {}
        for system in wanted:
            results[system] = run(["--system", system], folder, given)
            if (kind := system.removeprefix("faiss-")) in building:
                results[system] |= building[kind]
            found = load(folder / f"{system}.npy")
            shares = [np.isin(one, of).mean() for one, of in zip(right, found, strict=True)]
            results[system]["recall@10"] = float(np.mean(shares))
            print(f"{system}: {json.dumps(results[system])}", flush=True)
    size = f"{given.rows} x {given.width} {given.dtype}"
    entry = {
        "machine": describe_machine(),
        "threads": given.threads,
        "seed": given.seed,
        "vectors": f"synthetic, {TOPIC} to a topic, {GROUP} to a group",
        "note": given.note,
        "systems": results,
    }
    kept = json.loads(given.out.read_text()) if given.out.is_file() else {}
    if given.systems and size in kept:
        entry["systems"] = {**kept[size]["systems"], **results}
    given.out.write_text(json.dumps({**kept, size: entry}, indent=2) + "\n")
    print(f"\n{size}, {given.threads} threads\n\n{table(results)}")
    return entry


def run(what: list[str], folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Build or measure in a process of its own."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(given.threads))}
    command = [sys.executable, str(Path(__file__).resolve()), *what, "--folder", str(folder)]
    command += ["--singles", str(given.singles), "--batches", str(given.batches)]
    command += ["--lists", str(given.lists)] if given.lists else []
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(what)} failed:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
