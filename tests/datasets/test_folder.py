"""One's own pictures: good rows are indexed in place, bad ones are listed with their reason."""

from pathlib import Path

import pytest

from pipeline.config import FolderSource
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import image_id, read_table
from pipeline.errors import SourceError
from tests.datasets.conftest import picture


def source(folder: Path, table: str, limit: int = 0) -> FolderSource:
    folder.mkdir(exist_ok=True)
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number, (5, 3)))
    (folder / "broken.png").write_bytes(picture(9)[:50])
    (folder / "captions.csv").write_text(table, encoding="utf-8")
    return FolderSource(source="folder", path=str(folder), limit=limit)


def test_good_and_bad_rows(tmp_path: Path) -> None:
    spec = source(
        tmp_path / "raw",
        "file,caption,language,concept,split\n"
        "0.png,A cat,,Cat,\n0.png,Eine Katze,de,Cat,\n1.png,A saw,,,test\n"
        "absent.png,x,,,\nbroken.png,x,,,\n2.png,  ,,,\n2.png,x,,,tset\n,x,,,\n",
    )
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert about["counts"] == {"images": 2, "texts": 3, "pairs": 3, "concepts": 2, "failures": 5}
    labels = read_table(tmp_path / "index" / "labels.parquet").to_pylist()
    assert [(row["concept"], row["classname"], row["split"]) for row in labels] == [
        ("cat", "Cat", None),
        (image_id(picture(1, (5, 3))), None, "test"),
    ]
    images = read_table(tmp_path / "index" / "images.parquet").to_pylist()
    assert [(row["width"], row["height"], row["offset"], row["length"]) for row in images] == [(5, 3, 0, -1)] * 2
    assert all(Path(row["path"]).is_absolute() for row in images)
    assert ImageTable(tmp_path / "index").load(1).getpixel((0, 0)) == (1, 0, 0)
    failures = read_table(tmp_path / "index" / "failures.parquet").to_pylist()
    assert [row["key"].split(":")[0] for row in failures] == [f"line {line}" for line in (5, 6, 7, 8, 9)]
    reasons = " ".join(row["reason"] for row in failures)
    for reason in ("no such file", "damaged image", "empty caption", "split is 'tset'", "no file named"):
        assert reason in reasons


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,caption\nabsent.png,x\n", "none of 1 samples"),
        ("file,caption\n", "none of 0 samples"),
        ("", "expected file,caption"),
        ("image,caption\n0.png,x\n", "expected file,caption"),
        ("file,caption,clas\n0.png,x,y\n", "expected file,caption"),
    ],
)
def test_a_bad_table(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        build_index(source(tmp_path / "raw", table), tmp_path / "index", tmp_path)


def test_no_table_and_no_utf8(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No folder at .*/absent"):
        build_index(FolderSource(source="folder", path=str(tmp_path / "absent")), tmp_path / "index", tmp_path)
    with pytest.raises(SourceError, match="No caption table"):
        build_index(FolderSource(source="folder", path=str(tmp_path)), tmp_path / "index", tmp_path)
    spec = source(tmp_path / "raw", "")
    (tmp_path / "raw" / "captions.csv").write_bytes(b"file,caption\n0.png,caf\xe9\n")
    with pytest.raises(SourceError, match="UTF-8"):
        build_index(spec, tmp_path / "index", tmp_path)


def test_limit_and_appending(tmp_path: Path) -> None:
    table = "file,caption\n" + "".join(f"{number}.png,thing {number}\n" for number in range(3))
    build_index(source(tmp_path / "raw", table, limit=2), tmp_path / "two", tmp_path)
    build_index(source(tmp_path / "raw", table), tmp_path / "three", tmp_path)
    for name in ("images", "texts", "pairs", "labels"):
        two, three = (read_table(tmp_path / size / f"{name}.parquet").to_pylist() for size in ("two", "three"))
        assert three[:2] == two
