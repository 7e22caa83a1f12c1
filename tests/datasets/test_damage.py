"""Files that stages wrote and something damaged: a message that names the file, and never another error."""

import json
import logging
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import ListingSettings, TableSource
from pipeline.datasets.scenes.build import MASKS_FILE, OBJECTS_FILE
from pipeline.datasets.scenes.read import read_scenes
from pipeline.datasets.tables import IMAGES, OBJECTS, PAIRS, read_table, write_table
from pipeline.errors import DataError, SourceError
from pipeline.files import read_object
from tests.datasets.layouts import photo, write
from tests.datasets.test_bad_input import SHARED, build

ROWS = 300


def spoilt(whole: bytes) -> Iterator[bytes]:
    """Cut, emptied, with another beginning or end, and with single bytes flipped."""
    yield from (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole[:-9])
    yield b"PAR2" + whole[4:]
    yield whole[:-4] + b"PK\3\4"
    yield whole + b"behind"
    draw = random.Random(0)
    for _ in range(150):
        place = draw.randrange(len(whole))
        yield whole[:place] + bytes([whole[place] ^ (1 << draw.randrange(8))]) + whole[place + 1 :]
    for _ in range(20):
        start = draw.randrange(len(whole))
        yield whole[:start] + draw.randbytes(64) + whole[start + 64 :]


def index_table() -> pa.Table:
    names = [f"caf\u00e9 {number} \u51e7" for number in range(ROWS)]
    return pa.table(
        {"text_id": [f"{n:032x}" for n in range(ROWS)], "text": names, "value": list(range(ROWS))},
        pa.schema([("text_id", pa.string()), ("text", pa.string()), ("value", pa.int32())]),
    )


def test_a_damaged_table_is_read_or_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    write_table(index_table(), path)
    whole, refused = path.read_bytes(), 0
    for content in spoilt(whole):
        path.write_bytes(content)
        try:
            table = read_table(path, ["text_id", "text"])
            table.to_pylist()  # what was taken can be used
        except DataError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017 (either is right)
            assert "dvc repro" in str(error)  # noqa: PT017
    assert refused > 20


def test_text_that_is_no_utf8_is_found_when_a_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    odd = pa.array([b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": odd}), path)
    with pytest.raises(DataError, match=r"texts\.parquet cannot be read as a Parquet table"):
        read_table(path)


def scenes(folder: Path) -> Path:
    """Two scenes as `build_scenes` writes them."""
    folder.mkdir()
    ids = ["0" * 32, "1" * 32]
    empty = dict.fromkeys(IMAGES.names)
    write_table(
        pa.Table.from_pylist([{**empty, "image_id": one} for one in ids], schema=IMAGES), folder / "images.parquet"
    )
    pairs = [{"image_id": one, "text_id": one, "language": "en", "role": "long"} for one in ids]
    write_table(pa.Table.from_pylist(pairs, schema=PAIRS), folder / "pairs.parquet")
    objects = [{**dict.fromkeys(OBJECTS.names), "image_id": one, "instance": 1, "pixels": 3} for one in ids]
    write_table(pa.Table.from_pylist(objects, schema=OBJECTS), folder / OBJECTS_FILE)
    instances = np.random.default_rng(0).integers(0, 9, (2, 24, 24)).astype(np.uint8)
    np.savez_compressed(folder / MASKS_FILE, instances=instances)
    return folder


def test_damaged_masks_are_named(tmp_path: Path) -> None:
    folder = scenes(tmp_path / "scenes")
    path = folder / MASKS_FILE
    whole = path.read_bytes()
    right, refused = read_scenes(folder).instances, 0
    for content in spoilt(whole):
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(read_scenes(folder).instances, right)  # a flip where nothing is read
        except DataError as error:
            refused += 1
            assert str(path) in str(error)  # noqa: PT017 (either is right)
            assert "dvc repro scenes" in str(error)  # noqa: PT017
    assert refused > 100


def csv_of(root: Path) -> Path:
    write(root / "t.csv", "image,caption\n" + "".join(f'a.jpg,"caf\u00e9, {n}"\n' for n in range(40)))
    return root / "t.csv"


def tsv_of(root: Path) -> Path:
    write(root / "t.tsv", "image\tcaption\n" + "".join(f"a.jpg\tcaf\u00e9 {n}\n" for n in range(40)))
    return root / "t.tsv"


def parquet_of(root: Path) -> Path:
    root.mkdir(exist_ok=True)
    pq.write_table(
        pa.table({"image": [photo(0)] * 40, "caption": [f"caf\u00e9 {n}" for n in range(40)]}), root / "t.parquet"
    )
    return root / "t.parquet"


def gzip_of(root: Path) -> Path:
    import gzip

    path = csv_of(root)
    write(root / "t.csv.gz", gzip.compress(path.read_bytes(), mtime=0))
    return root / "t.csv.gz"


def jsonl_of(root: Path) -> Path:
    write(root / "t.jsonl", "".join(json.dumps({"image": "a.jpg", "caption": f"caf {n}"}) + "\n" for n in range(40)))
    return root / "t.jsonl"


@pytest.mark.parametrize("make", [csv_of, tsv_of, parquet_of, gzip_of, jsonl_of])
def test_a_damaged_table_of_a_user_is_indexed_or_named(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path / "raw")
    write(tmp_path / "raw/a.jpg", photo(0))
    whole = path.read_bytes()
    spec = TableSource(source="table", path=str(path), **SHARED)  # type: ignore[arg-type]
    for number, content in enumerate(spoilt(whole)):
        if number % 4 and len(content) == len(whole):
            continue  # an index takes its time
        path.write_bytes(content)
        try:
            keys, _ = build(spec, tmp_path / "index")
            assert keys
        except SourceError as error:
            assert path.name in str(error)  # noqa: PT017 (either is right)


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_damaged_listing_is_written_again(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from stages.listing import listing

    monkeypatch.chdir(tmp_path)
    write(tmp_path / "raw/a.jpg", photo(0))
    mine = {"source": "image-folder", "path": str(tmp_path / "raw")}
    settings = ListingSettings.model_validate({"datasets": {"mine": mine}, "named": {}})
    listing(settings)
    path = tmp_path / "data/listing/mine.json"
    whole = path.read_bytes()
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        listing(settings)
    assert path.read_bytes() == whole
    assert content == b"null" or "is damaged and is written again" in caplog.text


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b"[" * 100_000])
def test_a_damaged_record_of_an_index_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "about.json"
    assert read_object(path) == {}
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"about\.json .*Delete it and run: dvc repro"):
        read_object(path)
