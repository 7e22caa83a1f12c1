"""Whatever is wrong with raw data is handled as expected or listed with its reason; nothing crashes or is lost."""

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.config import (
    CaptionFileSource,
    EncodeParams,
    FolderSource,
    HubSource,
    ImageFolderSource,
    RawSource,
    TableSource,
    WebdatasetSource,
)
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import image_id, read_table
from pipeline.errors import SourceError
from pipeline.features.scratch import WORK_VARIABLE
from tests.datasets.bad_pictures import PICTURES, Outcome
from tests.datasets.encoders import TinyEncoders
from tests.datasets.layouts import photo, write, write_tar

Failures = dict[str, str]
SHARED = {"max_failure_rate": 1.0}


def failures_of(index: Path) -> Failures:
    """Key -> reason; a key that failed twice has both."""
    found: Failures = {}
    for entry in read_table(index / "failures.parquet").to_pylist():
        found[entry["key"]] = f"{found[entry['key']]}; {entry['reason']}" if entry["key"] in found else entry["reason"]
    return found


def build(spec: RawSource, index: Path) -> tuple[list[str], Failures]:
    """Keys of the images, and the failures."""
    build_index(spec, index, index.parent)  # type: ignore[arg-type]
    keys: list[str] = read_table(index / "images.parquet")["key"].to_pylist()
    return keys, failures_of(index)


class Pictures:
    """All pictures of the table, indexed and encoded; once decoded, once by their headers alone."""

    def __init__(self, root: Path) -> None:
        for name, (make, _) in PICTURES.items():
            write(root / "raw" / name, make())
        self.content = {name: (root / "raw" / name).read_bytes() for name in PICTURES}
        spec = {"source": "image-folder", "path": str(root / "raw"), **SHARED}
        self._special(root / "raw")
        encoders = TinyEncoders(root / "encoders")
        lines = "".join(f"{name},a picture\n" for name in [*PICTURES, "folder.png", "pipe.png", "link.png", "gone.png"])
        write(root / "raw/captions.csv", "file,caption\n" + lines)
        self.stores, self.failures, self.tables = {}, {}, {}
        for check in ("decode", "header"):
            spec = FolderSource(source="folder", path=str(root / "raw"), check=check, **SHARED)  # type: ignore[arg-type]
            index = root / check
            _, failures = build(spec, index)
            self.failures[check] = {key.split(": ", 1)[1]: reason for key, reason in failures.items()}
            self.tables[check] = ImageTable(index)
            params = EncodeParams(batch_size=4, workers=2, shard_rows=16, max_failure_rate=0.5)
            os.environ[WORK_VARIABLE] = str(root / f"work-{check}")
            self.stores[check], _ = encoders.images(index, root / f"store-{check}", params)

    def _special(self, raw: Path) -> None:
        (raw / "folder.png").mkdir()
        os.mkfifo(raw / "pipe.png")
        (raw / "link.png").symlink_to(raw / "nowhere.png")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    before = os.environ.get(WORK_VARIABLE)
    try:
        with pytest.warns(Image.DecompressionBombWarning):
            return Pictures(tmp_path_factory.mktemp("pictures"))
    finally:
        os.environ.pop(WORK_VARIABLE, None)
        if before is not None:
            os.environ[WORK_VARIABLE] = before


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture(name: str, pictures: Pictures) -> None:
    expected = PICTURES[name][1]
    identity = image_id(pictures.content[name])
    decoded, by_header = pictures.tables["decode"].ids, pictures.tables["header"].ids
    if expected.reason:
        assert expected.reason in pictures.failures["decode"][name]
        assert identity not in decoded
        if expected.behind:
            assert identity in by_header
            assert expected.reason in pictures.stores["header"].reasons[identity]
        else:
            assert expected.reason in pictures.failures["header"][name]
        return
    for check, ids in (("decode", decoded), ("header", by_header)):
        assert name not in pictures.failures[check]
        check_size(expected, check, ids.index(identity), pictures)
        assert identity not in pictures.stores[check].reasons
        assert pictures.stores[check].read("cls", [identity]).shape == (1, 1, 16)


def check_size(expected: Outcome, check: str, position: int, pictures: Pictures) -> None:
    folder = pictures.tables[check]._folder
    row = read_table(folder / "images.parquet").slice(position, 1).to_pylist()[0]
    assert (row["width"], row["height"]) == expected.size
    image = pictures.tables[check].load(position)
    assert image.mode == "RGB"
    assert image.size == expected.size
    colour = image.getpixel((0, 0))
    assert isinstance(colour, tuple)
    assert all(abs(a - b) <= 12 for a, b in zip(colour, expected.colour, strict=True)), colour


def test_what_is_no_file(pictures: Pictures) -> None:
    reasons = pictures.failures["decode"]
    assert reasons["folder.png"] == "cannot be read: a folder, not a file"
    assert reasons["pipe.png"] == "cannot be read: a pipe, not a file"
    for name in ("link.png", "gone.png"):
        assert reasons[name].startswith("no such file; looked for /")


LONG = "word " * 30_000
CSV_ROWS: dict[bytes, str | None] = {
    b"a.jpg,fine": None,
    b'a.jpg,"  "': "empty caption",
    b"a.jpg,": "empty caption",
    b"a.jpg": "empty caption",
    b",a caption": "no file named",
    b"a.jpg," + LONG.encode(): "caption of 149999 characters; at most 100000",
    b"a.jpg,caf\xe9": "the row is not valid UTF-8",
    b"a.jpg,a kite, in the sky,more,and,even,more,of it": "put quotes around",
    b"gone.jpg,x": "no such file",
    b"a.jpg,x,,,,,tomorrow": "split is 'tomorrow'",
    b"http://example.org/a.jpg,x": "an address, not a file",
    b"nul\0.jpg,x": "holds a zero byte",
    b'a.jpg,"a ""quoted"" word"': None,
    b"../raw/a.jpg,a way round": None,
}


def test_rows_of_a_csv(tmp_path: Path) -> None:
    write(tmp_path / "raw/a.jpg", photo(0))
    rows = list(CSV_ROWS)
    header = b"\xef\xbb\xbffile,caption,language,concept,classname,category,split"
    write(tmp_path / "raw/captions.csv", b"\n".join([header, *rows, b""]))
    keys, failures = build(FolderSource(source="folder", path=str(tmp_path / "raw"), **SHARED), tmp_path / "index")
    assert keys == ["a.jpg"]
    by_line = {int(key.split()[1].rstrip(":")): reason for key, reason in failures.items()}
    expected = {number: CSV_ROWS[row] for number, row in enumerate(rows, start=2) if CSV_ROWS[row] is not None}
    assert by_line.keys() == expected.keys()
    assert all(str(expected[line]) in by_line[line] for line in expected)
    texts = read_table(tmp_path / "index/texts.parquet")["text"].to_pylist()
    assert texts == ["fine", 'a "quoted" word', "a way round"]


def test_an_open_quote_costs_the_rows_behind_it_and_says_which(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        write(tmp_path / "raw" / name, photo(ord(name[0]) - 97))
    write(tmp_path / "raw/captions.csv", 'file,caption\na.jpg,fine\nb.jpg,"open\na.jpg,lost\n')
    keys, failures = build(FolderSource(source="folder", path=str(tmp_path / "raw"), **SHARED), tmp_path / "index")
    assert keys == ["a.jpg"]
    assert failures == {"lines 3 to 4": "cannot be read: unexpected end of data"}


def test_a_compressed_table_that_is_damaged(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    lines = "".join(f"a.jpg,caption {number} {'x' * (number % 77)}\n" for number in range(5000))
    whole = gzip.compress(f"image,caption\n{lines}".encode())
    for name, content in (("cut", cut(whole)), ("noise", whole[:9000] + b"\xff" * 99 + whole[9099:])):
        write(tmp_path / f"{name}.csv.gz", content)
        _, failures = build(TableSource(source="table", path=f"{tmp_path}/{name}.csv.gz", **SHARED), tmp_path / name)
        assert any("cut short" in reason or "cannot be read" in reason for reason in failures.values())


JSON_LINES: dict[bytes, str | None] = {
    b'{"image": "a.jpg", "caption": "fine"}': None,
    b'{"image": "a.jpg", "caption": ["one", "", "two"]}': "caption 2: empty caption",
    b'{"image": "a.jpg", "caption": 7}': "caption is a int, not a text",
    b'{"image": "a.jpg", "caption": {"en": "x"}}': "caption is a dict, not a text",
    b'{"image": "a.jpg", "caption": "\\ud800"}': "caption is not valid UTF-8",
    b'{"image": "a.jpg", "caption": null}': "no caption and no label; looked for caption; its fields are image",
    b'{"image": "a.jpg", "text": "x"}': "no caption and no label; looked for caption; its fields are image, text",
    b'{"caption": "x"}': "no file named",
    b'{"image": 5, "caption": "x"}': "found a int",
    b'{"image": "a.jpg", "caption"': "the line is not valid JSON",
    b'["a.jpg", "x"]': "expected an object",
    b'{"image": "caf\xe9.jpg", "caption": "x"}': "the line is not valid UTF-8",
    b"[" * 100_000: "the line is not valid JSON",
    b'{"image": "\\u0000", "caption": "x"}': "zero byte",
}


def test_lines_of_json(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    write(tmp_path / "data.jsonl.gz", gzip.compress(b"\n".join(JSON_LINES)))
    spec = TableSource(source="table", path=str(tmp_path / "data.jsonl.gz"), **SHARED)
    _, failures = build(spec, tmp_path / "index")
    by_line = {int(key.split(":")[0].split()[1]): reason for key, reason in failures.items()}
    expected = {number: reason for number, reason in enumerate(JSON_LINES.values(), start=1) if reason}
    assert by_line.keys() == expected.keys()
    assert all(expected[line] in by_line[line] for line in expected)
    assert read_table(tmp_path / "index/texts.parquet")["text"].to_pylist() == ["fine", "one", "two"]


ODD_TEXTS = (
    "\u0000",
    "\u202eright to left",
    "\U0001f9d1\u200d\U0001f33e",
    "x" * 99_000,
    "\u0e01\u0e34" * 500,
    "[CLS] [PAD]",
    "\ufffd",
)


def test_odd_texts_are_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    write(tmp_path / "a.jpg", photo(0))
    lines = [json.dumps({"image": "a.jpg", "caption": text}) for text in ODD_TEXTS]
    write(tmp_path / "data.jsonl", "\n".join(lines))
    _, failures = build(TableSource(source="table", path=str(tmp_path / "data.jsonl"), **SHARED), tmp_path / "index")
    assert failures == {}
    store, summary = TinyEncoders(tmp_path / "encoders").texts(tmp_path / "index", tmp_path / "words")
    assert summary.rows == len(ODD_TEXTS)
    assert store.valid.all()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


TAR_MEMBERS: list[tuple[str, bytes | tarfile.TarInfo, str | None]] = [
    ("good.jpg", photo(0), None),
    ("good.txt", b"fine", None),
    ("../out.jpg", photo(1), "leads out of the archive"),
    ("/etc/abs.jpg", photo(2), "leads out of the archive"),
    ("a/../../b.jpg", photo(3), "leads out of the archive"),
    ("soft.jpg", special("soft.jpg", tarfile.SYMTYPE, "/etc/passwd"), "a symbolic link"),
    ("hard.jpg", special("hard.jpg", tarfile.LNKTYPE, "good.jpg"), "a hard link"),
    ("disk.jpg", special("disk.jpg", tarfile.BLKTYPE), "a device"),
    ("tty.jpg", special("tty.jpg", tarfile.CHRTYPE), "a device"),
    ("pipe.jpg", special("pipe.jpg", tarfile.FIFOTYPE), "a pipe"),
    ("folder.jpg", special("folder.jpg", tarfile.DIRTYPE), None),
    ("twice.jpg", photo(4), None),
    ("twice.jpg", photo(5), None),
    ("twice.txt", b"the first of two", "a second file .jpg"),
    ("lonely.txt", b"no picture", "no picture; its files are .txt"),
    ("silent.jpg", photo(6), "no caption and no label; looked for txt; its files are .jpg"),
    ("latin.jpg", photo(7), None),
    ("latin.txt", b"caf\xe9", "text is not valid UTF-8"),
    ("void.jpg", photo(8), None),
    ("void.txt", b" \n", "empty caption"),
    ("page.jpg", b"<html>404</html>", None),
    ("page.txt", b"an error page", "it looks like HTML"),
    ("bare", b"no extension", None),
    ("b\udce9d.jpg", photo(9), "its name is not valid UTF-8"),
]


def spoiled_tar(path: Path) -> None:
    with tarfile.open(path, "w", errors="surrogateescape") as archive:
        for name, content, _ in TAR_MEMBERS:
            entry = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            entry.size = 0 if isinstance(content, tarfile.TarInfo) else len(content)
            archive.addfile(entry, None if isinstance(content, tarfile.TarInfo) else io.BytesIO(content))


def test_members_of_a_tar(tmp_path: Path) -> None:
    spoiled_tar(tmp_path / "0.tar")
    (keys, failures) = build(WebdatasetSource(source="webdataset", path=f"{tmp_path}/*.tar", **SHARED), tmp_path / "i")
    assert keys == ["0/good", "0/twice"]
    expected = {name: reason for name, _, reason in TAR_MEMBERS if reason}
    found = {key.removeprefix("0.tar: ").replace("\\udce9", "\udce9"): reason for key, reason in failures.items()}
    stems = {name if "refused" in found.get(name, "") else name.rpartition(".")[0]: r for name, r in expected.items()}
    assert found.keys() == stems.keys()
    assert all(stems[key] in found[key] for key in stems)
    assert not (tmp_path / "out.jpg").exists()


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


ARCHIVES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"", "cannot be read as an uncompressed tar"),
    "text": (lambda _: b"404: not found" * 99, "cannot be read as an uncompressed tar"),
    "gzip": (gzip.compress, "cannot be read as an uncompressed tar"),
    "cut": (cut, "cut short"),
    "noise": (lambda whole: whole[:1536] + b"\xff" * 512 + whole[2048:], "damaged or cut short"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_damaged_is_one_failure_among_others(kind: str, tmp_path: Path) -> None:
    for number in range(3):
        pictures = [
            (f"{n}.{e}", photo(n) if e == "jpg" else b"x")
            for n in range(3 * number, 3 * number + 3)
            for e in ("jpg", "txt")
        ]
        write_tar(tmp_path / f"{number}.tar", pictures)
    spoil, reason = ARCHIVES[kind]
    write(tmp_path / "1.tar", spoil((tmp_path / "1.tar").read_bytes()))
    spec = WebdatasetSource(source="webdataset", path=f"{tmp_path}/*.tar", **SHARED)
    keys, failures = build(spec, tmp_path / "index")
    assert {"0/0", "0/2", "2/6", "2/8"} <= set(keys)
    assert reason in failures["1.tar"]
    assert (tmp_path / "index/images.parquet").is_file()


PARQUET: dict[str, Any] = {
    "good": photo(0),
    "as huggingface": {"bytes": photo(1), "path": None},
    "null": None,
    "empty": b"",
    "no picture": b"hello",
}


def test_cells_of_parquet(tmp_path: Path) -> None:
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [cell if isinstance(cell, dict | None) else {"bytes": cell, "path": None} for cell in PARQUET.values()]
    table = pa.table({"image": pa.array(cells, struct), "caption": list(PARQUET)})
    pq.write_table(table, tmp_path / "a.parquet")
    keys, failures = build(TableSource(source="table", path=f"{tmp_path}/*.parquet", **SHARED), tmp_path / "index")
    assert keys == ["row 1", "row 2"]
    expected = ["no file named", "no file named", "not an image"]  # empty bytes name no picture, as null does
    assert list(failures) == ["row 3", "row 4", "row 5"]
    assert all(reason in found for reason, found in zip(expected, failures.values(), strict=True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 not really PAR1", "cannot be read as Parquet"),
        ("a.parquet", b"", "cannot be read as Parquet"),
        ("a.csv", b"path,text\na.jpg,x\n", r"lacks the columns \['caption', 'image'\]; it has \['path', 'text'\]"),
        ("a.csv", b"", r"lacks the columns"),
        ("a.csv", "image,caption\n".encode("utf-16"), "not a UTF-8 table"),
        ("a.xlsx", b"x", "a table of an unknown kind"),
        ("a.json", b"{}", "expected a list of objects"),
        ("a.json", b"[", "is not valid JSON"),
    ],
)
def test_a_table_that_is_none(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path / name, content)
    with pytest.raises(SourceError, match=message):
        build(TableSource(source="table", path=str(tmp_path / name), **SHARED), tmp_path / "index")
    assert not [path for path in (tmp_path / "index").iterdir() if path.suffix != ".parquet"]


def test_a_parquet_without_a_column_names_what_it_has(tmp_path: Path) -> None:
    pq.write_table(pa.table({"jpg": [photo(0)], "txt": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(SourceError, match=r"lacks the columns \['caption', 'image'\]; it has \['jpg', 'txt'\]"):
        build(TableSource(source="table", path=str(tmp_path / "a.parquet"), **SHARED), tmp_path / "index")


def test_annotations_of_coco(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    write(tmp_path / "b.jpg", photo(1))
    images = [
        {"id": 1, "file_name": "a.jpg"},
        {"id": 1, "file_name": "b.jpg"},
        {"id": 2},
        {"id": 3, "file_name": "gone.jpg"},
        5,
    ]
    said = [
        {"image_id": 1, "caption": "A kite."},
        {"image_id": 9, "caption": "x"},
        {"caption": "y"},
        {"image_id": 3, "caption": "z"},
    ]
    write(tmp_path / "captions.json", json.dumps({"images": images, "annotations": said}))
    spec = CaptionFileSource(source="coco", annotations=str(tmp_path / "captions.json"), images=str(tmp_path), **SHARED)
    keys, failures = build(spec, tmp_path / "index")
    assert keys == ["a.jpg"]
    for part in ("second image of id 1", "file_name", "no such file", "image that is not listed", "expected image_id"):
        assert any(part in reason for reason in failures.values()), part


def test_lines_of_flickr30k(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg", photo(0))
    write(
        tmp_path / "results.csv",
        b"image_name| comment_number| comment\na.jpg| 0| A kite .\na.jpg| 4   A dog .\na.jpg| 1| caf\xe9\n",
    )
    spec = CaptionFileSource(
        source="flickr30k", annotations=str(tmp_path / "results.csv"), images=str(tmp_path), **SHARED
    )
    keys, failures = build(spec, tmp_path / "index")
    assert keys == ["a.jpg"]
    assert "expected a file, its number and a caption" in failures["results.csv, line 3"]
    assert "not valid UTF-8" in failures["results.csv, line 4: a.jpg"]


def test_many_failures_stop_a_source_early_with_the_first_reasons(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"raw/{number}.jpg", photo(number))
    write(tmp_path / "raw/captions.csv", "file,caption\n0.jpg,x\n" + "gone.jpg,x\n" * 5000)
    spec = FolderSource(source="folder", path=str(tmp_path / "raw"))
    with pytest.raises(
        SourceError, match="101 of 102 samples so far cannot be indexed(?s:.*)line 3: gone.jpg: no such"
    ) as raised:
        build(spec, tmp_path / "index")
    assert "max_failure_rate = 0.1" in str(raised.value)
    with pytest.raises(SourceError, match="1 of 2 samples so far"):
        build(spec.model_copy(update={"max_failure_rate": 0.0}), tmp_path / "index")


def test_pictures_elsewhere_are_told_of_the_key_that_says_where(tmp_path: Path) -> None:
    write(tmp_path / "list/data.csv", "image,caption\n" + "".join(f"{number}.jpg,x\n" for number in range(12)))
    spec = TableSource(source="table", path=str(tmp_path / "list/data.csv"), **{**SHARED, "max_failure_rate": 0.1})
    with pytest.raises(SourceError, match="Relative paths start at the folder of the table.*`images`"):
        build(spec, tmp_path / "index")
    (tmp_path / "pictures").mkdir()
    with pytest.raises(SourceError) as raised:
        build(spec.model_copy(update={"images": str(tmp_path / "pictures")}), tmp_path / "index")
    assert "`images`" not in str(raised.value)


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
def test_a_folder_of_save_to_disk_is_told_how_to_become_a_table(name: str, tmp_path: Path) -> None:
    write(tmp_path / "saved" / name, "{}")
    with pytest.raises(SourceError, match="save_to_disk.*to_parquet"):
        build(HubSource(source="hub", path=str(tmp_path / "saved"), **SHARED), tmp_path / "index")


def test_a_folder_without_pictures_and_a_link_in_a_circle(tmp_path: Path) -> None:
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), **SHARED)
    with pytest.raises(SourceError, match="No folder at"):
        build(spec, tmp_path / "index")
    (tmp_path / "raw/class").mkdir(parents=True)
    (tmp_path / "raw/class/round").symlink_to(tmp_path / "raw")
    with pytest.raises(SourceError, match="none of 0 samples"):
        build(spec, tmp_path / "index")
    write(tmp_path / "raw/class/a.jpg", photo(0))
    keys, failures = build(spec, tmp_path / "index")
    assert keys == ["class/a.jpg"]
    assert failures == {}


def test_the_same_picture_twice_is_one_image_with_both_captions(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        write(tmp_path / "raw" / name, photo(0))
    write(tmp_path / "raw/captions.csv", "file,caption\na.jpg,one\nb.jpg,two\na.jpg,one\n")
    keys, failures = build(FolderSource(source="folder", path=str(tmp_path / "raw"), **SHARED), tmp_path / "index")
    assert (keys, failures) == (["a.jpg"], {})
    assert read_table(tmp_path / "index/pairs.parquet").num_rows == 2
