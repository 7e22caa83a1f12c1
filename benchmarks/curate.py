"""Streamed retrieval for concepts beside the reading and the products that it cannot do without, and beside FAISS.

    python benchmarks/curate.py                               # 100,000 rows, a minute
    python benchmarks/curate.py --cases 1m 20m faiss ivf      # some minutes on two idle cores
    python benchmarks/curate.py --project                     # 400 M rows by what was measured

A pool is 384 numbers a row in float16, around topics as in benchmarks/search.py; prototypes are drawn around the same
topics. 20 M rows are one store of 1 M rows under twenty names: as many bytes are read and multiplied, from the page
cache. `reading` is the time of reading all blocks and nothing else, `products` that of multiplying as many blocks of
float32 with all prototypes and nothing else; the larger of the two is the bound. `coarse` is the time of the same
products in bfloat16, and its bound the larger of it and reading: what retrieval could reach where it takes coarse
products. Each case runs in a process of its own; memory is the most that it held itself (RssAnon), read every 20 ms.
Cases that are in the file are kept; each is written as soon as it is known, so a run that is stopped goes on where it
was.

Prints a table and writes benchmarks/results/curate.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

OUT = ROOT / "benchmarks" / "results" / "curate.json"
WIDTH, CONCEPTS, SHARD_ROWS, TOPIC = 384, 1000, 65536, 20_000
CASES: dict[str, dict[str, int]] = {  # rows of the store, how often it is read, candidates of each concept
    "100k": {"rows": 100_000, "times": 1, "k": 100},
    "1m": {"rows": 1_000_000, "times": 1, "k": 500},
    "1m-k2000": {"rows": 1_000_000, "times": 1, "k": 2000},  # beside 20 M rows: memory is that of the candidates
    "20m": {"rows": 1_000_000, "times": 20, "k": 2000},
    "faiss": {"rows": 1_000_000, "times": 1, "k": 500},
    "ivf": {"rows": 1_000_000, "times": 1, "k": 500},
    "faiss-100k": {"rows": 100_000, "times": 1, "k": 100},
    "ivf-100k": {"rows": 100_000, "times": 1, "k": 100},
}
POOL_ROWS, POOL_CONCEPTS = 400_000_000, 2754  # of LAION-400M, and the paper's
GPU_FLOPS, GPU_LINK = 50e12, 20e9  # float32 products of a data-centre GPU, and bytes a second from its host: assumed
NODE_FLOPS, NODE_READ = 2e12, 3e9  # of a node of 64 cores, and of its share of a file system: assumed


class Watch:
    """The most anonymous memory of this process from here on."""

    def __init__(self) -> None:
        self.first = self.most = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.02):
            self.most = max(self.most, self._now())

    @staticmethod
    def _now() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) * 1024
        return 0


def make_pool(folder: Path, rows: int, seed: int = 0) -> None:
    """A store of some rows, and prototypes."""
    from pipeline.features import ArraySpec, Fingerprint
    from pipeline.features.publish import publish
    from pipeline.features.shards import ShardWriter

    generator = np.random.default_rng(seed)
    fall = np.arange(1, WIDTH + 1, dtype=np.float32) ** -0.5
    topics = generator.standard_normal((max(8, rows // TOPIC), WIDTH), dtype=np.float32) * fall

    def around(count: int) -> np.ndarray:
        noise = generator.standard_normal((count, WIDTH), dtype=np.float32) * fall
        drawn: np.ndarray = topics[generator.integers(len(topics), size=count)] + noise
        return drawn

    spec, shards = ArraySpec("cls", (WIDTH,), "float16"), []
    for start in range(0, rows, SHARD_ROWS):
        count = min(SHARD_ROWS, rows - start)
        ids = [f"{row:032x}" for row in range(start, start + count)]
        with ShardWriter(folder / "scratch", [spec], ids, SHARD_ROWS) as writer:
            writer.append({"cls": around(count).astype(np.float16)}, [None] * count)
            shards.append(writer.finish())
    publish(folder / "store", Fingerprint({"rows": rows}), [spec], shards, SHARD_ROWS, {})
    prototypes = around(CONCEPTS)
    prototypes /= np.linalg.norm(prototypes, axis=1, keepdims=True)
    np.save(folder / "prototypes.npy", prototypes)


def measure(case: str, folder: Path, threads: int, runs: int) -> dict[str, Any]:
    """One case, in this process."""
    import torch

    from pipeline.curation.products import coarse_is_faster
    from pipeline.curation.streamed import block_rows, retrieve_streamed
    from pipeline.curation.vectors import PoolVectors
    from pipeline.features import FeatureStore

    torch.set_num_threads(threads)
    asked = CASES[case]
    prototypes: np.ndarray = np.load(folder / "prototypes.npy", allow_pickle=False)
    array = FeatureStore.open(folder / "store").array("cls")
    if case.startswith(("faiss", "ivf")):
        return by_faiss(case, array, prototypes, asked["k"], threads, runs)
    pool = PoolVectors({f"store{number:02}": array for number in range(asked["times"])})
    blocks = pool.blocks(block_rows(len(prototypes), "cpu"))
    for _ in pool.stream(blocks[: len(blocks) // asked["times"]]):  # into the page cache
        pass
    times: dict[str, list[float]] = {"reading": [], "products": [], "coarse": [], "retrieval": []}
    wide = torch.rand(blocks[0].stop, WIDTH)
    held = 0
    for _ in range(runs):
        begun = time.perf_counter()
        for _ in pool.stream(blocks):
            pass
        times["reading"].append(time.perf_counter() - begun)
        for name, kind in (("products", torch.float32), ("coarse", torch.bfloat16)):
            queries, rows = torch.from_numpy(prototypes).to(kind), wide.to(kind)
            out = torch.empty(len(queries), len(rows), dtype=kind)
            begun = time.perf_counter()
            for _ in blocks:
                torch.mm(queries, rows.T, out=out)
            times[name].append(time.perf_counter() - begun)
        with Watch() as watch:
            begun = time.perf_counter()
            found = retrieve_streamed(pool, prototypes, asked["k"])
            times["retrieval"].append(time.perf_counter() - begun)
        held = max(held, watch.most - watch.first)
    seconds = {name: float(np.median(taken)) for name, taken in times.items()}
    bound, coarse_bound = (max(seconds["reading"], seconds[name]) for name in ("products", "coarse"))
    shares = {
        name: [max(r, p) / t for r, p, t in zip(times["reading"], times[name], times["retrieval"], strict=True)]
        for name in ("products", "coarse")
    }
    return {
        "rows": len(pool), "width": WIDTH, "concepts": len(prototypes), "k": asked["k"], "runs": runs,
        "seconds": seconds, "all_seconds": times, "bound_seconds": bound,
        "share_of_bound": float(np.median(shares["products"])), "shares": shares["products"],
        "coarse_bound_seconds": coarse_bound, "share_of_coarse_bound": float(np.median(shares["coarse"])),
        "coarse_is_taken": coarse_is_faster(*prototypes.shape), "memory_bytes": held,
        "rows_per_second": len(pool) / seconds["retrieval"], "first": found.rows[:3, :3].tolist(),
    }  # fmt: skip


def by_faiss(case: str, array: Any, prototypes: np.ndarray, k: int, threads: int, runs: int) -> dict[str, Any]:
    """FAISS on the same rows, as unit vectors in float32: flat, or lists with as many probes as recall 0.95 takes."""
    import faiss

    from pipeline.curation.streamed import retrieve_streamed
    from pipeline.curation.vectors import PoolVectors

    faiss.omp_set_num_threads(threads)
    with Watch() as watch:
        vectors = array.read_range(0, len(array)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        begun = time.perf_counter()
        if case.startswith("faiss"):
            index: Any = faiss.IndexFlatIP(WIDTH)
        else:
            lists = int(2 ** round(np.log2(2 * np.sqrt(len(vectors)))))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(WIDTH), WIDTH, lists, faiss.METRIC_INNER_PRODUCT)
            index.cp.niter = 10
            index.train(vectors[:: max(1, len(vectors) // (40 * lists))])
        index.add(vectors)
        building = time.perf_counter() - begun
        exact = retrieve_streamed(PoolVectors({"store": array}), prototypes, k).rows
        probes = [1, 2, 4, 8, 16, 32, 64, 128, 256] if case.startswith("ivf") else [0]
        for probe in probes:
            if probe:
                index.nprobe = probe
            taken, rows = [], exact
            for _ in range(runs):
                begun = time.perf_counter()
                rows = index.search(prototypes, k)[1]
                taken.append(time.perf_counter() - begun)
            recall = float(np.mean([np.isin(a, b).mean() for a, b in zip(exact, rows, strict=True)]))
            if recall >= 0.95:
                break
    return {
        "rows": len(vectors), "width": WIDTH, "concepts": len(prototypes), "k": k, "runs": runs,
        "seconds": {"building": building, "retrieval": float(np.median(taken))}, "probes": probe, "recall": recall,
        "memory_bytes": watch.most - watch.first, "rows_per_second": len(vectors) / float(np.median(taken)),
    }  # fmt: skip


def projection(measured: dict[str, Any]) -> dict[str, Any]:
    """400 M rows for the paper's concepts, by the share of its bound that was reached here; rates are assumptions."""
    share = measured["share_of_coarse_bound" if measured["coarse_is_taken"] else "share_of_bound"]
    flops, size = 2.0 * POOL_ROWS * POOL_CONCEPTS * WIDTH, POOL_ROWS * WIDTH * 2
    times = POOL_ROWS * POOL_CONCEPTS / (measured["rows"] * measured["concepts"])
    out: dict[str, Any] = {
        "rows": POOL_ROWS, "concepts": POOL_CONCEPTS, "share_of_bound": share, "bytes": size,
        "is": "an extrapolation: rates of GPU and nodes are assumed, the share of the bound is the one measured here",
        "here_hours": times * measured["seconds"]["retrieval"] / 3600,
    }  # fmt: skip
    for name, rate, read in (("gpu", GPU_FLOPS, GPU_LINK), ("nodes_64", 64 * NODE_FLOPS, 64 * NODE_READ)):
        bound = max(flops / rate, size / read)
        out[name] = {"flops": rate, "bytes_per_second": read, "bound_seconds": bound, "seconds": bound / share}
    return out


def table(results: dict[str, Any]) -> str:
    """A row for each case, in Markdown."""
    lines = [
        "| case | rows | k | seconds | reading | products | coarse | of the bound, coarse | recall | memory, MB |",
        "|---" * 10 + "|",
    ]
    for name, one in results.items():
        seconds = one["seconds"]
        cells = [name, f"{one['rows']:,}", one["k"], f"{seconds['retrieval']:.1f}"]
        cells += [f"{seconds[key]:.1f}" if key in seconds else "" for key in ("reading", "products", "coarse")]
        shares = [f"{one[key]:.2f}" for key in ("share_of_bound", "share_of_coarse_bound") if key in one]
        cells += [", ".join(shares), f"{one.get('recall', 1.0):.3f}"]
        lines.append(f"| {' | '.join(map(str, [*cells, round(one['memory_bytes'] / 1e6)]))} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run what is not in the file yet, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=["100k"])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--again", action="store_true", help="also what is in the file")
    parser.add_argument("--note", default="", help="kept with the figures, such as: other programs were running")
    parser.add_argument("--folder", type=Path, help="for the pools, which are kept there; a temporary one if left out")
    parser.add_argument("--project", action="store_true", help="400 M rows, by the largest case")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.case is not None:
        print(json.dumps(measure(given.case, given.folder, given.threads, given.runs)))
        return {}
    from pipeline.accounting.machine import describe_machine

    kept: dict[str, Any] = json.loads(given.out.read_text()) if given.out.is_file() else {}
    results = kept.setdefault("retrieval", {})
    with tempfile.TemporaryDirectory() as temporary:
        for case in given.cases:
            if case in results and not given.again:
                continue
            folder = (given.folder or Path(temporary)) / str(CASES[case]["rows"])
            if not (folder / "prototypes.npy").is_file():
                make_pool(folder, CASES[case]["rows"])
            started = time.time()
            results[case] = in_a_process(case, folder, given.threads, given.runs) | {"note": given.note}
            results[case]["wall_seconds"] = round(time.time() - started, 1)
            kept |= {"machine": describe_machine(), "threads": given.threads}
            given.out.write_text(json.dumps(kept, indent=2) + "\n")
    if given.project:
        kept["projection"] = projection(
            results[max((c for c in results if "share_of_bound" in results[c]), key=lambda c: results[c]["rows"])]
        )
        given.out.write_text(json.dumps(kept, indent=2) + "\n")
    print(table(results))
    return kept


def in_a_process(case: str, folder: Path, threads: int, runs: int) -> dict[str, Any]:
    """Measure a case apart."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, str(Path(__file__).resolve()), "--case", case, "--folder", str(folder)]
    command += ["--threads", str(threads), "--runs", str(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr[-4000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


if __name__ == "__main__":
    main()
