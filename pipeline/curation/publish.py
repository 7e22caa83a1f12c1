"""A curated selection as a data set that others can use: a table, a card and, where the bytes are at hand, shards."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets.decode import read_bytes
from pipeline.datasets.opened import opened_image
from pipeline.datasets.tables import read_table, write_table
from pipeline.errors import DataError
from pipeline.files import read_object
from pipeline.inference.markdown import cell
from pipeline.inference.markdown import table as markdown_table
from pipeline.paths import curation_folder, index_folder

_SHARD = 1000  # samples of one tar
_UNKNOWN = "not recorded"


def export_curation(
    name: str, out: Path, *, repeat: int = 0, urls: Path | None = None, pictures: bool = True
) -> dict[str, int]:
    """Write what a curation by concepts keeps in one repeat into a new or empty folder.

    samples.parquet has ids, captions, concepts, scores and ranks; README.md is a card with counts, reasons and the
    licences of the sources; shards/*.tar is webdataset with the pictures' own bytes, a .txt and a .json each. With a
    table of addresses, urls.parquet is ready for img2dataset.

    Args:
        urls: a Parquet file with columns `id` and `url`, for samples whose pictures are not here.
        pictures: whether to write shards.

    Returns:
        samples, pictures, urls: how many are in the folder.

    Raises:
        DataError: there is no such curation or repeat, the folder is not empty, or the table lacks a column.
    """
    kept = _kept(name, repeat)
    if out.is_dir() and any(out.iterdir()):
        raise DataError(f"{out} is not empty. Name a new or an empty folder.")
    out.mkdir(parents=True, exist_ok=True)
    captions = _captions(kept)
    table = kept.append_column("caption", pa.array(captions, pa.string()))
    addresses = _addresses(urls, table.column("image_id")) if urls is not None else None
    if addresses is not None:
        table = table.append_column("url", addresses)
    write_table(table, out / "samples.parquet")
    written = _write_shards(table, out / "shards") if pictures else 0
    listed = 0
    if addresses is not None:
        known = table.filter(pc.is_valid(table.column("url")))
        listed = len(known)
        write_table(known.select(["url", "caption", "image_id", "concept"]), out / "urls.parquet")
    (out / "README.md").write_text(_card(name, repeat, table, written, listed), encoding="utf-8")
    return {"samples": len(table), "pictures": written, "urls": listed}


def _kept(name: str, repeat: int) -> pa.Table:
    path = curation_folder(name) / "outcome.parquet"
    if not path.is_file():
        raise DataError(
            f"No outcome at {path}. Only curations under `concept_curations` have one; make it with: "
            f"dvc repro curate_concepts@{name}"
        )
    table = read_table(path)
    kept = table.filter(pc.and_(pc.equal(table.column("repeat"), repeat), table.column("kept"))).sort_by("order")
    if not len(kept):
        repeats = sorted(set(table.column("repeat").to_pylist()))
        raise DataError(f"{path} keeps nothing for repeat {repeat}; it has repeats {repeats}.")
    return kept.select(["dataset", "image_id", "text_id", "concept", "score", "rank", "reason"])


def _captions(kept: pa.Table) -> list[str | None]:
    strings: dict[tuple[str, str], str] = {}
    for dataset in sorted(set(kept.column("dataset").to_pylist())):
        texts = read_table(index_folder("pairs", dataset) / "texts.parquet", ["text_id", "text"])
        pairs = zip(texts.column("text_id").to_pylist(), texts.column("text").to_pylist(), strict=True)
        strings.update({(dataset, key): text for key, text in pairs})
    keys = zip(kept.column("dataset").to_pylist(), kept.column("text_id").to_pylist(), strict=True)
    return [strings.get(key) for key in keys]


def _addresses(path: Path, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    if not path.is_file():
        raise DataError(f"No table of addresses at {path}.")
    if lacking := {"id", "url"} - set(pq.read_schema(path).names):
        raise DataError(f"{path} lacks the columns {', '.join(sorted(lacking))}; it should have `id` and `url`.")
    table = read_table(path, ["id", "url"])
    return table.column("url").take(pc.index_in(ids.combine_chunks(), value_set=table.column("id").combine_chunks()))


def _write_shards(table: pa.Table, folder: Path) -> int:
    folder.mkdir()
    written, shard = 0, None
    for sample, content in _with_bytes(table):
        if written % _SHARD == 0:
            if shard is not None:
                shard.close()
            shard = tarfile.open(folder / f"{written // _SHARD:05d}.tar", "w")  # noqa: SIM115  one after another
        assert shard is not None
        key = sample["image_id"]
        record = {name: sample[name] for name in ("image_id", "dataset", "caption", "concept", "score", "rank")}
        _add(shard, f"{key}.{_suffix(content)}", content)
        _add(shard, f"{key}.txt", (sample["caption"] or "").encode())
        _add(shard, f"{key}.json", json.dumps(record, ensure_ascii=False).encode())
        written += 1
    if shard is not None:
        shard.close()
    return written


def _with_bytes(table: pa.Table) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Samples whose pictures can be read, with the bytes."""
    known: dict[str, dict[str, dict[str, Any]]] = {}
    for sample in table.to_pylist():
        folder = index_folder("pairs", sample["dataset"])
        if sample["dataset"] not in known:
            rows = read_table(folder / "images.parquet", ["image_id", "path", "offset", "length"]).to_pylist()
            known[sample["dataset"]] = {row["image_id"]: row for row in rows}
        row = known[sample["dataset"]].get(sample["image_id"])
        if row is None:
            continue
        try:
            content = read_bytes(row, folder)
        except DataError:
            continue
        yield sample, content


def _suffix(content: bytes) -> str:
    with opened_image(content) as image:
        return {"JPEG": "jpg"}.get(image.format or "", (image.format or "bin").lower())


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)  # times and owners stay 0, so the same samples give the same bytes
    shard.addfile(member, io.BytesIO(content))


def _card(name: str, repeat: int, table: pa.Table, pictures: int, urls: int) -> str:
    coverage = read_object(curation_folder(name) / "coverage.json")
    sources = []
    for dataset in sorted(set(table.column("dataset").to_pylist())):
        about = read_object(index_folder("pairs", dataset) / "about.json")
        licences = [
            f"{package} {entry.get('version') or ''}".rstrip() + f": {entry.get('licence') or _UNKNOWN}"
            for package, entry in (about.get("packages") or {}).items()
        ]
        count = pc.sum(pc.equal(table.column("dataset"), dataset)).as_py()
        sources.append([dataset, count, "; ".join(licences) or _UNKNOWN])
    lines = [
        "---", "license: other", "task_categories:", "- image-to-text", "- zero-shot-image-classification",
        f"size_categories:\n- {_size(len(table))}", "---", "", f"# {name}", "",
        f"{len(table)} samples that the curation `{name}` keeps in repeat {repeat}: {pictures} with their pictures "
        f"(shards/*.tar, webdataset), {urls} by address (urls.parquet, for `img2dataset --input_format parquet "
        "--url_col url --caption_col caption`).", "",
        "The licence is that of each source; this selection adds none.", "",
        markdown_table(["source", "samples", "licences"], sources), "",
        "## How it was chosen", "", str(coverage.get("protocol", "")), "",
        *(f"- {cell(sentence)}" for sentence in coverage.get("sentences", ())), "",
        "## Concepts by their number of samples", "",
        markdown_table(
            ["samples", "in the pool", "selected"],
            [[one["samples"], one["before"], one["after"]] for one in coverage.get("histogram", ())],
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _size(samples: int) -> str:
    for most, name in ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")):
        if samples < most:
            return name
    return "n>1M"
