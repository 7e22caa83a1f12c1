"""Encoding end to end, beside its bound and beside what one would write without this project.

    python benchmarks/encode.py [--only vit-s14] [--small]        # `pip install datasets` for its row

On the CPU (benchmarks/gpu.py is for a GPU): ViT-S/14 at 224 px over JPEG photographs of 500 x 375 px, all-MiniLM-L6-v2
over captions of 4 to 40 words.
Decode and forward share the cores, so the bound is the sum of their CPU-seconds over the number of cores; each is
measured alone on all cores, as threads of one core and as one pass over all, and the cheaper counts.

`ours` goes from files to a published store: decoding, forward, checksums, fsync, metadata. The others write nothing
(loops, sentence-transformers) or Arrow (`map`). Models are loaded and warm before the clock starts. What the bound is
made of, ours and the rivals run in a process each, in turn, three rounds; rates are medians. All must give the same
features, or it stops. `--only` keeps what results/ holds of the other works.
Prints tables and writes benchmarks/results/encode.json.
"""

import argparse
import importlib.util
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.encode_work import Work, checkpoint_of, cpu_works, index_of, transformer_flops  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
ROUNDS = 3
SHARD_ROWS = 4096  # texts of like length are looked for within a shard; sentence-transformers looks at all it is given
RIVALS = ("sentence-transformers", "transformers loop", "datasets map")
GROUPS = {"bound": ("forward, whole", "forward, lanes", "decode"), "ours": ("ours",), "rivals": RIVALS}


class Run:
    """One side of one work in this process."""

    def __init__(self, work: Work, folder: Path, device: str) -> None:
        from pipeline.config import EncodeParams
        from pipeline.datasets.decode import ImageTable
        from pipeline.encoding.plan import text_plan

        self.work, self.folder, self.device = work, folder, device
        self.busy: list[float] = []
        self.threads = 0
        self.checkpoint = checkpoint_of(work, folder)
        self.index = folder / "index"
        self.params = EncodeParams(
            batch_size=work.batch_size,
            text_batch_size=work.batch_size,
            workers="auto",
            device=device,
            shard_rows=SHARD_ROWS,
        )
        self.table = ImageTable(self.index)
        _, strings = text_plan(self.index, (), 512)
        self.texts = list(strings.values())[: work.rows]
        self.strings = dict(list(strings.items())[: work.rows])

    def batches(self, rows: int) -> Iterator[slice]:
        return (slice(start, start + self.work.batch_size) for start in range(0, rows, self.work.batch_size))

    def decode(self) -> Callable[[int], Any]:
        """Decode and preprocess on all cores, one thread each; what is made is dropped."""
        import torch

        from pipeline.encoders.image import load_image_encoder

        encoder = load_image_encoder(self.checkpoint, self.work.spec, self.work.view, "cpu")
        cores = os.cpu_count() or 1

        def run(rows: int) -> None:
            with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
                for _ in pool.map(lambda row: float(encoder.preprocess(self.table.load(row))[0, 0, 0]), range(rows)):
                    pass

        return run

    def prepared(self) -> tuple[list[Any], Callable[[Any], Any]]:
        """Batches in the form and the order in which the encoder takes them, and its forward pass alone."""
        import torch

        from pipeline.encoders.image import load_image_encoder
        from pipeline.encoders.text import load_text_encoder

        if self.work.images:
            encoder = load_image_encoder(self.checkpoint, self.work.spec, self.work.view, self.device)
            made = [encoder.preprocess(self.table.load(row)) for row in range(min(self.work.rows, 512))]
            ready = [torch.stack(made[part]).to(self.device) for part in self.batches(len(made))]
            return ready, lambda batch: encoder.forward(batch).cls
        text = load_text_encoder(self.checkpoint, self.work.spec, self.work.view, self.device)
        model = text.backbone
        order = np.argsort(text.lengths(self.texts), kind="stable")
        tokenised = []
        for part in self.batches(len(order)):
            features = model.preprocess([self.texts[row] for row in order[part]])  # type: ignore[operator]
            moved = {k: v.to(self.device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
            tokenised.append(moved)

        @torch.inference_mode()
        def forward(batch: Any) -> Any:
            return model(dict(batch))["sentence_embedding"]

        return tokenised, forward

    def forward(self, lanes: bool) -> Callable[[int], Any]:
        """The bare forward pass, of each batch on one core side by side, or of one batch at a time on all."""
        import torch

        ready, forward = self.prepared()

        def run(rows: int) -> None:
            count = max(1, rows // self.work.batch_size)
            batches = [ready[number % len(ready)] for number in range(count)]
            if not lanes:
                for batch in batches:
                    forward(batch)
            else:
                cores = os.cpu_count() or 1
                with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
                    list(pool.map(forward, batches))
            if self.device != "cpu":
                torch.cuda.synchronize()

        return run

    def ours(self) -> Callable[[int], Any]:
        from pipeline.encoders.manifest import read_manifest
        from pipeline.encoding.identity import fingerprint_of
        from pipeline.encoding.load import image_rows, text_rows
        from pipeline.encoding.plan import Plan
        from pipeline.encoding.run import StoreEncoder
        from pipeline.features import FeatureStore

        work, scratch = self.work, Path(tempfile.mkdtemp(dir=self.folder))
        if work.images:
            rows_of: Any = image_rows(self.checkpoint, work.spec, work.view, self.index, self.params)
            ids = tuple(self.table.ids)
        else:
            rows_of = text_rows(self.checkpoint, work.spec, work.view, self.strings, self.params)
            ids = tuple(self.strings)
        fingerprint = fingerprint_of(read_manifest(self.checkpoint), work.spec, work.view)

        def encoded(rows: int) -> Path:
            os.environ["PERMAFROST_WORK"] = tempfile.mkdtemp(dir=scratch)
            out = scratch / "store"
            shutil.rmtree(out, ignore_errors=True)
            StoreEncoder(work.name, fingerprint, lambda: rows_of, 0.0).run(
                Plan(ids[:rows], self.params.shard_rows), out
            )
            return out

        encoded(2 * work.batch_size)
        self._watch(rows_of._workers)

        def run(rows: int) -> np.ndarray:
            store = FeatureStore.open(encoded(rows))
            values = np.asarray(store.read("cls" if work.images else "pooled", list(ids[:rows])), dtype=np.float32)
            return values[:, -1] if work.images else values

        return run

    def _watch(self, lanes: Any) -> None:
        """Note how long each thread is at work: what is lost between batches, apart from what they cost."""
        work = lanes._work

        def watched(item: Any) -> Any:
            started = time.perf_counter()
            result = work(item)
            self.busy.append(time.perf_counter() - started)
            return result

        lanes._work = watched
        self.threads = lanes._depth - 1

    def loop(self) -> Callable[[int], Any]:
        """What the documentation of transformers shows, in batches."""
        import torch

        if self.work.images:
            return self._image_loop()
        from transformers import AutoModel, AutoTokenizer

        dtype = getattr(torch, self.work.spec.dtype)
        model = AutoModel.from_pretrained(self.checkpoint, dtype=dtype, trust_remote_code=False).eval().to(self.device)
        tokenizer = AutoTokenizer.from_pretrained(self.checkpoint, trust_remote_code=False)

        @torch.inference_mode()
        def embed(texts: list[str]) -> np.ndarray:
            batch = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt").to(self.device)
            hidden = model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][:, :, None]
            pooled = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            return torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()

        self.embed = embed
        return lambda rows: np.concatenate([embed(self.texts[:rows][part]) for part in self.batches(rows)])

    def _image_loop(self) -> Callable[[int], Any]:
        import torch
        from PIL import Image
        from transformers import AutoImageProcessor, AutoModel

        processor = AutoImageProcessor.from_pretrained(self.checkpoint, trust_remote_code=False)
        dtype = getattr(torch, self.work.spec.dtype)
        model = AutoModel.from_pretrained(self.checkpoint, dtype=dtype, trust_remote_code=False).eval().to(self.device)
        paths = sorted((self.folder / "pictures").glob("*.jpg"))

        @torch.inference_mode()
        def embed(images: list[Any]) -> np.ndarray:
            batch = processor(images=images, return_tensors="pt")["pixel_values"].to(self.device, dtype)
            hidden = model(batch).last_hidden_state
            hidden[:, 1:].mean(dim=1).float().cpu()
            return hidden[:, 0].float().cpu().numpy()

        self.embed = embed
        return lambda rows: np.concatenate(
            [embed([Image.open(path).convert("RGB") for path in paths[:rows][part]]) for part in self.batches(rows)]
        )

    def sentence(self) -> Callable[[int], Any]:
        from sentence_transformers import SentenceTransformer

        dtype = {"dtype": self.work.spec.dtype}
        model = SentenceTransformer(
            str(self.checkpoint), device=self.device, model_kwargs=dtype, trust_remote_code=False
        )
        return lambda rows: np.asarray(
            model.encode(self.texts[:rows], batch_size=self.work.batch_size, show_progress_bar=False), dtype=np.float32
        )

    def mapped(self) -> Callable[[int], Any]:
        """`datasets.Dataset.map` over the loop's own function; it writes Arrow files."""
        import datasets

        datasets.disable_progress_bars()
        self.loop()
        embed, batch_size = self.embed, self.work.batch_size

        def run(rows: int) -> np.ndarray:
            kept = tempfile.mkdtemp(dir=self.folder)
            if self.work.images:
                paths = [str(path) for path in sorted((self.folder / "pictures").glob("*.jpg"))[:rows]]
                data = datasets.Dataset.from_dict({"x": paths}).cast_column("x", datasets.Image(mode="RGB"))
            else:
                data = datasets.Dataset.from_dict({"x": self.texts[:rows]})
            done = data.map(
                lambda batch: {"features": embed(batch["x"])},
                batched=True,
                batch_size=batch_size,
                remove_columns=["x"],
                cache_file_name=f"{kept}/features.arrow",
                new_fingerprint=Path(kept).name,
            )
            return np.asarray(done.with_format("numpy")["features"][:], dtype=np.float32)

        return run

    def side(self, name: str) -> Callable[[int], Any]:
        return {
            "decode": self.decode,
            "forward, lanes": lambda: self.forward(lanes=True),
            "forward, whole": lambda: self.forward(lanes=False),
            "ours": self.ours,
            "transformers loop": self.loop,
            "sentence-transformers": self.sentence,
            "datasets map": self.mapped,
        }[name]()


def sides_of(work: Work, group: str) -> tuple[str, ...]:
    """The sides of a group that there are of this work."""
    left_out = {"sentence-transformers"} if work.images else {"decode"}
    if importlib.util.find_spec("datasets") is None:
        left_out |= {"datasets map"}
    return tuple(side for side in GROUPS[group] if side not in left_out)


def one(work: Work, side: str, folder: Path, device: str) -> dict[str, Any]:
    """One side in this process: seconds on the wall and of the CPU for all rows, and some of its features."""
    measured = Run(work, folder, device)
    run, rows = measured.side(side), work.rows
    run(min(rows, 2 * work.batch_size))
    measured.busy.clear()
    wall, cpu = time.perf_counter(), time.process_time()
    values = run(rows)
    found: dict[str, Any] = {
        "seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
        "rows": rows if not side.startswith("forward") else max(1, rows // work.batch_size) * work.batch_size,
    }
    if measured.threads:
        found["threads_busy"] = sum(measured.busy) / (measured.threads * found["seconds"])
    if values is not None:
        found["sample"] = [[round(float(v), 5) for v in row[:8]] for row in values[:: max(1, rows // 8)][:8]]
    return found


def agree(runs: dict[str, list[dict[str, Any]]], what: str, tolerance: float) -> None:
    """Stop where two sides did not compute the same features."""
    samples = {side: np.array(found[0]["sample"]) for side, found in runs.items() if "sample" in found[0]}
    for side, values in samples.items():
        worst = float(np.abs(values - samples["ours"]).max())
        if worst > tolerance * float(np.abs(samples["ours"]).max()):
            raise SystemExit(f"{what}: {side} gives other features than ours, up to {worst:.4g} apart")


def spawn(given: argparse.Namespace, folder: Path, work: str, group: str) -> dict[str, dict[str, Any]]:
    command = [sys.executable, __file__, "--one", work, group, "--folder", str(folder)]
    command += ["--small"] * given.small
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{work}, {group}: {done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(given: argparse.Namespace, folder: Path, work: Work) -> dict[str, Any]:
    """All sides of one work, in turn, and how they stand to the bound."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for _ in range(1 if given.small else ROUNDS):
        for group in GROUPS:
            for side, found in spawn(given, folder, work.name, group).items():
                runs.setdefault(side, []).append(found)
    agree(runs, work.name, 2e-3)
    rates = {s: statistics.median(r["rows"] / r["seconds"] for r in found) for s, found in runs.items()}
    costs = {s: statistics.median(r["cpu_seconds"] / r["rows"] for r in found) for s, found in runs.items()}
    forward = min(costs["forward, lanes"], costs["forward, whole"])
    bound = (os.cpu_count() or 1) / (costs.get("decode", 0.0) + forward)
    best = max((rates[side] for side in RIVALS if side in rates), default=math.nan)
    return {
        "rows": work.rows,
        "batch_size": work.batch_size,
        "rows_per_second": rates,
        "cpu_seconds_per_row": costs,
        "bound_rows_per_second": bound,
        "bound_cpu_seconds_per_row": (os.cpu_count() or 1) / bound,
        "share_of_bound": rates["ours"] / bound,
        "times_the_best_rival": rates["ours"] / best,
        "threads_busy": statistics.median(run["threads_busy"] for run in runs["ours"]),
        "runs": {side: [{k: v for k, v in r.items() if k != "sample"} for r in found] for side, found in runs.items()},
    }


def works_of(given: argparse.Namespace) -> list[Work]:
    return cpu_works(32, 128) if given.small else cpu_works(128, 4096)


def text_flops(folder: Path, work: Work, index: Path) -> float:
    """Mean over the captions, padding left out."""
    run = Run(work, folder, "cpu")
    assert run.index == index
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(run.checkpoint, trust_remote_code=False)
    lengths = [
        len(ids)
        for ids in AutoTokenizer.from_pretrained(run.checkpoint, trust_remote_code=False)(run.texts)["input_ids"]
    ]
    per_text = [transformer_flops(length, config.hidden_size, config.num_hidden_layers) for length in lengths]
    return statistics.fmean(per_text)


def show(name: str, found: dict[str, Any]) -> None:
    print(f"\n{name}: {found['rows']} rows, batches of {found['batch_size']}")
    for side, rate in found["rows_per_second"].items():
        print(f"  {side:24}{rate:>12.1f} rows/s{1e3 * found['cpu_seconds_per_row'][side]:>12.2f} CPU-ms a row")
    print(f"  {'bound':24}{found['bound_rows_per_second']:>12.1f} rows/s")
    print(f"  ours: {found['share_of_bound']:.3f} of the bound, {found['times_the_best_rival']:.2f} x the best rival")
    print(f"  its threads are at work {found['threads_busy']:.3f} of the time")


def main() -> None:
    """Measure, print, write."""
    from pipeline.torchvision_fix import ensure_torchvision

    ensure_torchvision()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a few rows, shallow models; nothing is written")
    parser.add_argument("--only", help="one of the works; what results/ holds of the others is kept")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, group = given.one
        (work,) = (work for work in works_of(given) if work.name == name)
        sides = sides_of(work, group)
        print(json.dumps({side: one(work, side, given.folder, "cpu") for side in sides}))
        return
    from pipeline.accounting.machine import describe_machine

    path = RESULTS / "encode.json"
    results: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        results = json.loads(path.read_text(encoding="utf-8"))["works"] if given.only else {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        works = works_of(given)
        index_of(folder, max(w.rows for w in works if w.images), max(w.rows for w in works if not w.images))
        for work in works:
            if given.only in (None, work.name):
                checkpoint_of(work, folder)
                found = results[work.name] = measure(given, folder, work)
                show(work.name, found)
    if not given.small:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"machine": describe_machine(), "works": results}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
