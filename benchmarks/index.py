"""Indexing synthetic tars and Parquet: rows per second and peak memory, beside plain reading of the same bytes.

    python benchmarks/index.py [--rows 10000 100000 1000000] [--readers NAME ...] [--folder /tmp/index-benchmark]

A row is a PNG of 8 x 8 pixels, unlike every other, and a caption: so small that what is measured is the cost of a row,
not of its pixels. Tars hold 10,000 samples of two members, Parquet files 100,000 rows with bytes and caption. Every
reader reads the same files in a process of its own, after they have been read once; `+ decode` takes SHA-256 of each
picture and decodes it to RGB as the index does. `again` is a second index of unchanged tars, which reads captions and
no pictures. `listing` is what `dvc repro` does each time, on a folder of as many files (up to 100,000). One run each;
CPU seconds are those of all its threads, imports included; they compare readers where the machine does other work as
well. Peak memory is that of the process with all that it imports. Results are merged into
benchmarks/results/index.json.
"""

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

OUT = ROOT / "benchmarks" / "results" / "index.json"
PER_TAR, PER_PARQUET, MOST_FILES = 10_000, 100_000, 100_000


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


HEAD = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
END = chunk(b"IEND", b"")


def picture(number: int) -> bytes:
    """PNG of 8 x 8 pixels whose rows repeat the number."""
    row = b"\0" + struct.pack(">Q", number * 0x9E3779B97F4A7C15 & (1 << 64) - 1) * 3
    return HEAD + chunk(b"IDAT", zlib.compress(row * 8, 1)) + END


def caption(number: int) -> str:
    return f"a picture of the number {number}, made for a benchmark"


def make(folder: Path, rows: int) -> None:
    """Write the tars, the Parquet files and the folder of files, unless they are there."""
    done = folder / "done"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for start in range(0, rows, PER_TAR):
        with open(folder / f"{start // PER_TAR:05d}.tar", "wb") as file:
            for number in range(start, min(start + PER_TAR, rows)):
                for extension, content in (("png", picture(number)), ("txt", caption(number).encode())):
                    entry = tarfile.TarInfo(f"{number:09d}.{extension}")
                    entry.size = len(content)
                    file.write(entry.tobuf(tarfile.USTAR_FORMAT) + content + b"\0" * (-len(content) % 512))
            file.write(b"\0" * 1024)
    import pyarrow as pa
    import pyarrow.parquet as pq

    for start in range(0, rows, PER_PARQUET):
        numbers = range(start, min(start + PER_PARQUET, rows))
        table = {"image": [picture(n) for n in numbers], "caption": [caption(n) for n in numbers]}
        pq.write_table(pa.table(table), folder / f"{start // PER_PARQUET:03d}.parquet", row_group_size=1000)
    for number in range(min(rows, MOST_FILES)):
        path = folder / "files" / f"{number // 1000:03d}" / f"{number:09d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    for path in folder.rglob("*"):
        os.utime(path, (1.6e9, 1.6e9))
    done.touch()


def tars(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.tar"))


def read_tars(folder: Path) -> Iterator[bytes]:
    """Every member's bytes, by the standard library alone."""
    for path in tars(folder):
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                file = archive.extractfile(entry)
                assert file is not None
                yield file.read()


def read_parquet(folder: Path) -> Iterator[bytes]:
    import pyarrow.parquet as pq

    for path in sorted(folder.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1000, columns=["image", "caption"]):
            batch.column(1).to_pylist()
            yield from batch.column(0).to_pylist()


def decoded(contents: Iterator[bytes]) -> int:
    """SHA-256 and RGB pixels of every picture."""
    from pipeline.datasets.decode import decode_rgb
    from pipeline.datasets.tables import image_id

    count = 0
    for content in contents:
        if content.startswith(b"\x89PNG"):
            image_id(content)
            decode_rgb(content)
            count += 1
    return count


def hugging_face(folder: Path, kind: str, pattern: str) -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_CACHE"] = str(folder / "hf-cache")
    import datasets

    files = [str(path) for path in sorted(folder.glob(pattern))]
    part = datasets.load_dataset(kind, data_files=files, split="train", streaming=True, trust_remote_code=False)
    for name, feature in (part.features or {}).items():
        if isinstance(feature, datasets.Image):
            part = part.cast_column(name, datasets.Image(decode=False))
    return sum(1 for _ in part)


def index(folder: Path, spec: dict[str, Any], again: bool = False) -> int:
    from pipeline.config import TableSource, WebdatasetSource
    from pipeline.datasets.index import build_index

    kind = WebdatasetSource if spec["source"] == "webdataset" else TableSource
    out = folder / "index"
    known = folder / "known"
    if not again:
        shutil.rmtree(known, ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    about = build_index(kind(**spec), out, folder, known)
    assert about["counts"]["failures"] == 0
    return int(about["counts"]["images"])


def listed(folder: Path) -> int:
    from pipeline.config import ImageFolderSource
    from pipeline.datasets.raw_files import listing

    found = listing(ImageFolderSource(source="image-folder", path=str(folder / "files")))
    assert found is not None
    return int(found["files"])


READERS: dict[str, Callable[[Path], int]] = {
    "tars: tarfile": lambda folder: sum(1 for _ in read_tars(folder)) // 2,
    "tars: tarfile + decode": lambda folder: decoded(read_tars(folder)),
    "tars: datasets": lambda folder: hugging_face(folder, "webdataset", "*.tar"),
    "tars: index": lambda folder: index(folder, {"source": "webdataset", "path": f"{folder}/*.tar"}),
    "tars: index, again": lambda folder: index(folder, {"source": "webdataset", "path": f"{folder}/*.tar"}, True),
    "tars: index, headers alone": lambda folder: index(
        folder, {"source": "webdataset", "path": f"{folder}/*.tar", "check": "header"}
    ),
    "parquet: pyarrow": lambda folder: sum(1 for _ in read_parquet(folder)),
    "parquet: pyarrow + decode": lambda folder: decoded(read_parquet(folder)),
    "parquet: datasets": lambda folder: hugging_face(folder, "parquet", "*.parquet"),
    "parquet: index": lambda folder: index(folder, {"source": "table", "path": f"{folder}/*.parquet"}),
    "files: listing": listed,
}


def one(reader: str, folder: Path) -> dict[str, Any]:
    """Run one reader in this process."""
    started, worked = time.perf_counter(), time.process_time()
    rows = READERS[reader](folder)
    seconds, cpu = time.perf_counter() - started, time.process_time() - worked
    return {
        "rows": rows,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu, 3),
        "rows_per_second": round(rows / seconds),
        "peak_bytes": peak_memory(),
    }


def peak_memory() -> int:
    """Bytes of this process at its largest; getrusage would count the process that started it as well."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def warm(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def table(results: dict[str, dict[str, Any]]) -> str:
    sizes = sorted({int(size) for found in results.values() for size in found})
    head = [f"{size:,}" for size in sizes]
    lines = ["| reader | " + " | ".join(f"{size} rows: per CPU second | per second | MB" for size in head) + " |"]
    lines.append("|---|" + "---:|---:|---:|" * len(sizes))
    for reader in READERS:
        cells = []
        for size in sizes:
            found = results.get(reader, {}).get(str(size))
            if found is None:
                cells += ["-"] * 3
                continue
            speed, peak = found["rows_per_second"], found["peak_bytes"]
            cells += [f"{found['rows'] / found['cpu_seconds']:,.0f}", f"{speed:,}", f"{peak / 1e6:.0f}"]
        lines.append(f"| {reader} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--readers", nargs="+", choices=list(READERS), default=list(READERS))
    parser.add_argument("--folder", type=Path, default=Path("/tmp/index-benchmark"))
    parser.add_argument("--make", action="store_true", help="write the files alone")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one, options.folder)))
        return
    from pipeline.accounting.machine import describe_machine
    from pipeline.files import write_json

    results = json.loads(OUT.read_text())["readers"] if OUT.exists() else {}
    for rows in options.rows:
        folder = options.folder / str(rows)
        make(folder, rows)
        if options.make:
            continue
        warm(folder)
        for reader in options.readers:
            if reader == "files: listing" and rows > MOST_FILES:
                continue
            command = [sys.executable, __file__, "--one", reader, "--folder", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{reader}: {done.stderr[-2000:]}")
            results.setdefault(reader, {})[str(rows)] = json.loads(done.stdout.splitlines()[-1])
            print(f"{rows:>9,} {reader:<28} {results[reader][str(rows)]}", flush=True)
            content = {"machine": describe_machine(), "readers": {name: results.get(name, {}) for name in READERS}}
            write_json(content, OUT)
    print(table(results))


if __name__ == "__main__":
    main()
