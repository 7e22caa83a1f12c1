"""Reading a feature store from an object store, against a plain download of the same bytes.

    pip install -e '.[objects]' 'moto[server]'
    python benchmarks/object_store.py [--small]

A server of moto on this machine holds one store. Each round reads all of its rows, in turn:

- `download`: its shard objects by obstore, one after another and by four threads, into memory and into files;
- `first read`: every row in order, from an opened store whose cache is empty: requests, checksums, the files of the
  cache, the copy to the reader;
- `streamed`: the same by an epoch of shuffled windows, as training reads;
- `again`: every row in order with all shards in the cache; `folder`: the same from the local store;
- `open`, in seconds: the manifest, the ids and other metadata, before that.

A ratio is one to the fastest download of the same round. Writes benchmarks/results/object_store.json.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.accounting.machine import describe_machine
from pipeline.features import ArraySpec, FeatureStore, Fingerprint
from pipeline.features.objects.cache import FOLDER_VARIABLE
from pipeline.features.objects.check import verify_remote
from pipeline.features.objects.push import push
from pipeline.features.publish import publish
from pipeline.features.shards import ShardWriter
from pipeline.features.shuffle import BlockShuffle
from pipeline.features.stream import Side, stream, window_blocks

OUT = Path(__file__).resolve().parent / "results" / "object_store.json"
WIDTH, SHARD_ROWS, BATCH, BLOCK = 768, 8_192, 1024, 128
URL = "s3://features/benchmark/store"
THREADS = 4


@contextmanager
def server() -> Iterator[str]:
    """An S3 server on a free port, with the bucket of `URL`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            while True:
                try:
                    urllib.request.urlopen(f"{url}/moto-api/", timeout=5).read()
                    break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.1)
            urllib.request.urlopen(urllib.request.Request(f"{url}/features", method="PUT"), timeout=30).read()
            yield url
        finally:
            running.kill()


def write(folder: Path, rows: int) -> Path:
    """A store of noise, (rows, 1, WIDTH) float16."""
    rng, shards, specs = np.random.default_rng(0), [], [ArraySpec("cls", (1, WIDTH), "float16")]
    for start in range(0, rows, SHARD_ROWS):
        count = min(SHARD_ROWS, rows - start)
        values = rng.standard_normal((count, 1, WIDTH), dtype=np.float32)
        with ShardWriter(folder / "scratch", specs, [f"id{start + k}" for k in range(count)], SHARD_ROWS) as writer:
            writer.append({"cls": values}, [None] * count)
            shards.append(writer.finish())
    publish(folder / "store", Fingerprint({"rows": rows}), specs, shards, SHARD_ROWS, {})
    return folder / "store"


def download(names: list[str], folder: Path | None, threads: int) -> None:
    """The objects by obstore alone, into memory or into files of `folder`."""
    import obstore
    import obstore.store

    client = {"allow_http": True, "timeout": timedelta(seconds=60)}
    store = obstore.store.from_url(URL, client_options=client)

    def one(name: str) -> None:
        pieces = obstore.get(store, name).stream()
        if folder is None:
            for piece in pieces:
                memoryview(piece)
            return
        with open(folder / name.replace("/", "-"), "wb") as file:
            for piece in pieces:
                file.write(piece)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, names))


def in_order(store: FeatureStore) -> None:
    """Every row, batch by batch."""
    array = store.array("cls")
    out = np.empty((BATCH, *array.shape[1:]), array.dtype)
    for start in range(0, len(store), BATCH):
        stop = min(len(store), start + BATCH)
        array.read_range(start, stop, out=out[: stop - start])


def epoch(store: FeatureStore) -> None:
    """Every row once, in batches of shuffled windows of 64 MB."""
    side = Side(np.arange(len(store)), (store.array("cls"),))
    blocks = window_blocks([side], BLOCK, 64 << 20)
    for _ in stream((side,), BlockShuffle(len(store), BLOCK, blocks), BATCH, seed=0, epoch=0):
        pass


def seconds(run: Callable[[], object]) -> float:
    """How long a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def one_round(folder: Path, temporary: Path, names: list[str]) -> dict[str, float]:
    """Seconds of each way to read."""
    cache, files = temporary / "objects", temporary / "files"
    os.environ[FOLDER_VARIABLE] = str(cache)
    found = {}
    for label, into, threads in (
        ("download, one by one, memory", None, 1),
        (f"download, {THREADS} threads, memory", None, THREADS),
        ("download, one by one, files", files, 1),
        (f"download, {THREADS} threads, files", files, THREADS),
    ):
        files.mkdir()
        found[label] = seconds(lambda into=into, threads=threads: download(names, into, threads))  # type: ignore[misc]
        shutil.rmtree(files)
    for label, read in (("streamed", epoch), ("first read", in_order)):
        shutil.rmtree(cache, ignore_errors=True)
        started = time.perf_counter()
        store = FeatureStore.open(URL)
        found["open"] = time.perf_counter() - started
        found[label] = seconds(lambda read=read, store=store: read(store))  # type: ignore[misc]
    found["again"] = seconds(lambda: in_order(store))
    local = FeatureStore.open(folder)
    found["folder"] = seconds(lambda: in_order(local))
    return found


def spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def main() -> None:
    """Run the rounds, print a table and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a few megabytes, two rounds, nothing written")
    small = parser.parse_args().small
    rows, rounds = (20_000, 2) if small else (163_840, 7)
    with tempfile.TemporaryDirectory() as name, server() as endpoint:
        temporary = Path(name)
        os.environ.update(
            AWS_ENDPOINT_URL=endpoint, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_REGION="us-east-1",
            PERMAFROST_WORK=str(temporary / "work"),
        )  # fmt: skip
        folder = write(temporary, rows)
        pushing = seconds(lambda: push(folder, URL))
        checking = seconds(lambda: verify_remote(URL))
        shards = [path for path in (folder / "cls" / "c").rglob("*") if path.is_file()]
        names = sorted(path.relative_to(folder).as_posix() for path in shards)
        size = sum((folder / one).stat().st_size for one in names)
        one_round(folder, temporary, names)  # connections, code and page cache become warm
        found = [one_round(folder, temporary, names) for _ in range(rounds)]
    plain = [min(value for label, value in one.items() if label.startswith("download")) for one in found]
    ratios = {
        label: spread([best / one[label] for best, one in zip(plain, found, strict=True)])
        for label in ("first read", "streamed", "again")
    }
    files = [min(value for label, value in one.items() if label.endswith("files")) for one in found]
    rates = [label for label in found[0] if label != "open"]
    result: dict[str, Any] = {
        "machine": describe_machine(),
        "versions": {library: version(library) for library in ("obstore", "moto")},
        "bytes": size,
        "shards": len(names),
        "rounds": rounds,
        "megabytes_per_second": {label: spread([size / 1e6 / one[label] for one in found]) for label in rates},
        "of_the_fastest_download": ratios,
        "first_read_of_the_fastest_download_into_files": spread(
            [best / one["first read"] for best, one in zip(files, found, strict=True)]
        ),
        "open_seconds": spread([one["open"] for one in found]),
        "push_megabytes_per_second": size / 1e6 / pushing,
        "verify_megabytes_per_second": size / 1e6 / checking,
    }
    for label, rate in result["megabytes_per_second"].items():
        print(f"{label:32} {rate['median']:8.0f} MB/s ({rate['lowest']:.0f} to {rate['highest']:.0f})")
    for label, ratio in ratios.items():
        print(f"{label:32} {ratio['median']:8.2f} of the fastest download "
              f"({ratio['lowest']:.2f} to {ratio['highest']:.2f})")  # fmt: skip
    into = result["first_read_of_the_fastest_download_into_files"]
    print(f"{'first read':32} {into['median']:8.2f} of one into files ({into['lowest']:.2f} to {into['highest']:.2f})")
    print(f"open {result['open_seconds']['median']:.2f} s")
    print(f"push {size / 1e6 / pushing:.0f} MB/s, verify {size / 1e6 / checking:.0f} MB/s")
    if not small:
        OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
