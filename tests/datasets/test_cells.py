"""What is no text does not become one: nulls, NaN, numbers and lists in captions and labels of every source."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import (
    CaptionFileSource,
    HubSource,
    ImageFolderSource,
    LongCaptionSource,
    TableSource,
    WebdatasetSource,
)
from pipeline.datasets.babel import names_in_languages
from pipeline.datasets.cells import captions_of, label_of, lines_of
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError, SourceError
from tests.datasets.layouts import photo, write, write_tar
from tests.datasets.test_bad_input import SHARED, build

NAN = float("nan")
LISTS: dict[str, list[str]] = {
    '["a cat", "two, cats"]': ["a cat", "two, cats"],
    "['a cat', \"it's a dog\"]": ["a cat", "it's a dog"],
    str(np.array(["a cat", "it's a dog"])): ["a cat", "it's a dog"],
    "['it\\'s', 'a\\tb',]": ["it's", "a\tb"],
    ' ["caf\\u00e9"] ': ["café"],
    "[CLS] [PAD]": ["[CLS] [PAD]"],
    "[1, 2]": ["[1, 2]"],
    "[]": ["[]"],
    "['a', b]": ["['a', b]"],
    "['open]": ["['open]"],
    "[nan]": ["[nan]"],
    '{"a": "b"}': ['{"a": "b"}'],
}


@pytest.mark.parametrize("cell", LISTS)
def test_a_list_that_is_written_as_text(cell: str) -> None:
    assert captions_of(cell) == (LISTS[cell], [])


@pytest.mark.parametrize(
    "cell", [["a", None, "b"], ("a", NAN, "b"), '["a", null, "b"]', "['a', nan, 'b']", "['a' None 'b']"]
)
def test_one_missing_caption_of_a_list_costs_that_one(cell: Any) -> None:
    assert captions_of(cell) == (["a", "b"], ["caption 2 of 3: caption is null, not a text"])


@pytest.mark.parametrize("cell", [None, NAN, []])
def test_no_captions(cell: Any) -> None:
    assert captions_of(cell) == ([], [])


def test_a_long_cell_that_is_almost_a_list_takes_no_time() -> None:
    cell = "[" + "'a'  ,  " * 50_000 + "?]"
    assert captions_of(cell) == ([cell], [])


@pytest.mark.parametrize(
    ("value", "label"),
    [(None, ""), (NAN, ""), (-1, ""), (-1.0, ""), ("-1", ""), (" cat ", "cat"), (0, "0"), (3.0, "3"), ("a -1", "a -1")],
)
def test_labels(value: Any, label: str) -> None:
    assert label_of(value, "concept") == label


@pytest.mark.parametrize("value", [True, 0.5, float("inf"), {"a": 1}, b"cat"])
def test_what_is_no_label(value: Any) -> None:
    with pytest.raises(DataError, match=f"concept is .*, a {type(value).__name__}; expected a text or a whole number"):
        label_of(value, "concept")


@pytest.mark.parametrize("column", ["concept", "classname", "category", "split", "language"])
def test_a_label_that_is_no_utf8_is_a_failure(column: str, tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    lines = [{"image": "0.jpg", "caption": "x"}, {"image": "1.jpg", "caption": "y", column: "caf\udce9"}]
    write(tmp_path / "data.jsonl", "\n".join(map(json.dumps, lines)))
    spec = TableSource(source="table", path=f"{tmp_path}/data.jsonl", columns={column: column}, **SHARED)  # type: ignore[arg-type]
    assert build(spec, tmp_path / "index") == (["0.jpg"], {"line 2: 1.jpg": f"{column} is not valid UTF-8"})


def test_lines_end_at_line_feeds_alone() -> None:
    assert lines_of("a\x85b\u2028c\x0c\r\n\nd\re\n") == ["a\x85b\u2028c\x0c", "", "d e"]
    assert lines_of("a\rb\r") == ["a", "b"]
    assert lines_of("") == []
    assert lines_of("\n") == [""]


def rows_of(index: Path) -> dict[str, tuple[list[str], list[str], list[str | None]]]:
    """Key -> captions, concepts and class names; a picture that is its own concept has the concept "itself"."""
    texts = {row["text_id"]: row["text"] for row in read_table(index / "texts.parquet").to_pylist()}
    pairs, labels = (read_table(index / f"{name}.parquet").to_pylist() for name in ("pairs", "labels"))
    return {
        row["key"]: (
            [texts[pair["text_id"]] for pair in pairs if pair["image_id"] == row["image_id"]],
            ["itself" if label["concept"] == label["image_id"] else label["concept"] for label in of],
            [label["classname"] for label in of],
        )
        for row in read_table(index / "images.parquet").to_pylist()
        for of in [[label for label in labels if label["image_id"] == row["image_id"]]]
    }


def pictures(root: Path, number: int) -> None:
    for place in range(number):
        write(root / f"{place}.jpg", photo(place))


def test_rows_of_a_table(tmp_path: Path) -> None:
    pictures(tmp_path, 6)
    rows = [
        {"caption": ["one", None, "two"], "concept": None, "classname": NAN},
        {"caption": NAN, "concept": 7, "classname": None},
        {"caption": '["a", "b"]', "concept": ["Cat", "dog"], "classname": ["a cat", "a dog"]},
        {"caption": "x", "concept": -1, "classname": -1},
        {"caption": None, "concept": ["cat", "dog"], "classname": ["cat"]},
        {"caption": [None, 7], "concept": None, "classname": None},
    ]
    lines = [json.dumps({"image": f"{number}.jpg", **row}) for number, row in enumerate(rows)]
    write(tmp_path / "data.jsonl", "\n".join(lines))
    columns = {"concept": "concept", "classname": "classname"}
    spec = TableSource(source="table", path=str(tmp_path / "data.jsonl"), columns=columns, **SHARED)  # type: ignore[arg-type]
    _, failures = build(spec, tmp_path / "index")
    assert rows_of(tmp_path / "index") == {
        "0.jpg": (["one", "two"], ["itself"], [None]),
        "1.jpg": ([], ["7"], ["7"]),
        "2.jpg": (["a", "b"], ["Cat", "dog"], ["a cat", "a dog"]),
        "3.jpg": (["x"], ["itself"], [None]),
    }
    null = "caption 1 of 2: caption is null, not a text"
    assert failures == {
        "line 1: 0.jpg": "caption 2 of 3: caption is null, not a text",
        "line 5: 4.jpg": "2 concepts, but 1 class names",
        "line 6: 5.jpg": f"{null}; caption 2 of 2: caption is a int, not a text",
    }


def test_cells_of_parquet_that_pandas_wrote(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    table = {"image": [f"{n}.jpg" for n in range(3)], "concept": [1.0, NAN, -1.0], "caption": ["a", "b", "c"]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    spec = TableSource(source="table", path=str(tmp_path / "a.parquet"), columns={"concept": "concept"}, **SHARED)  # type: ignore[arg-type]
    assert build(spec, tmp_path / "index")[1] == {}
    assert [row[1] for row in rows_of(tmp_path / "index").values()] == [["1"], ["itself"], ["itself"]]


def test_flickr30k_as_a_csv_with_lists(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    write(tmp_path / "data.csv", 'raw,split,filename\n"[""Two men."", ""A \\""cat\\"".""]",train,0.jpg\n')
    columns = {"image": "filename", "caption": "raw", "split": "split"}
    spec = TableSource(source="table", path=str(tmp_path / "data.csv"), columns=columns, **SHARED)  # type: ignore[arg-type]
    assert build(spec, tmp_path / "index")[1] == {}
    assert rows_of(tmp_path / "index")["0.jpg"][0] == ["Two men.", 'A "cat".']


def test_karpathys_json(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    images = [
        {"filename": "0.jpg", "filepath": None, "sentences": [{"raw": "one"}, {"raw": None}, {"raw": "two"}]},
        {"filename": "1.jpg", "split": None, "sentences": [{"raw": NAN}]},
        {"filename": None, "sentences": []},
    ]
    write(tmp_path / "data.json", json.dumps({"images": images}))
    spec = CaptionFileSource(source="coco", annotations=str(tmp_path / "data.json"), images=str(tmp_path), **SHARED)
    _, failures = build(spec, tmp_path / "index")
    assert {key: row[0] for key, row in rows_of(tmp_path / "index").items()} == {"0.jpg": ["one", "two"]}
    assert failures == {
        "data.json, image 0: 0.jpg": "caption 2 of 3: caption is null, not a text",
        "data.json, image 1: 1.jpg": "caption 1 of 1: caption is null, not a text",
        "data.json, image 2": "filename is null, not a text",
    }


def test_cocos_json(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    said = [{"image_id": 1, "caption": text} for text in ("fine", None, ["a"])]
    images = [{"id": 1, "file_name": "0.jpg"}, {"id": 2, "file_name": None}]
    write(tmp_path / "data.json", json.dumps({"images": images, "annotations": said}))
    spec = CaptionFileSource(source="coco", annotations=str(tmp_path / "data.json"), images=str(tmp_path), **SHARED)
    _, failures = build(spec, tmp_path / "index")
    assert rows_of(tmp_path / "index")["0.jpg"][0] == ["fine"]
    assert failures == {
        "data.json, annotation 1 of image 1": "caption is null, not a text",
        "data.json, annotation 2 of image 1": "caption is a list, not a text",
        "data.json, image 1": "expected id and file_name: file_name is null, not a text",
    }


def test_dci(tmp_path: Path) -> None:
    pictures(tmp_path / "photos", 2)
    for number, (short, extra) in enumerate([("A cat.", None), (["a"], "x")]):
        entry = {"image": f"{number}.jpg", "short_caption": short, "extra_caption": extra}
        write(tmp_path / f"annotations/{number}.json", json.dumps(entry))
    spec = LongCaptionSource(source="dci", path=str(tmp_path), roles=("caption",), **SHARED)
    _, failures = build(spec, tmp_path / "index")
    assert {key: row[0] for key, row in rows_of(tmp_path / "index").items()} == {"0": ["A cat."]}
    assert failures == {"1.json": "expected image, short_caption and extra_caption: caption is a list, not a text"}


def test_fields_of_a_webdataset(tmp_path: Path) -> None:
    fields = [["one", None], None, 7]
    members = [
        (f"{n}.{e}", photo(n) if e == "jpg" else json.dumps({"c": field}).encode())
        for n, field in enumerate(fields)
        for e in ("jpg", "json")
    ]
    write_tar(tmp_path / "0.tar", members)
    spec = WebdatasetSource(source="webdataset", path=f"{tmp_path}/0.tar", captions=("json.c",), **SHARED)
    _, failures = build(spec, tmp_path / "index")
    assert {key: row[0] for key, row in rows_of(tmp_path / "index").items()} == {"0/0": ["one"]}
    assert failures == {
        "0.tar: 0": "caption 2 of 2: caption is null, not a text",
        "0.tar: 1": "no caption and no label; looked for json.c; its files are .jpg, .json; fields of its .json: c",
        "0.tar: 2": "caption is a int, not a text",
    }


def test_an_empty_line_among_numbered_classes(tmp_path: Path) -> None:
    members = [(f"{n}.{e}", photo(n) if e == "jpg" else str(n).encode()) for n in range(4) for e in ("jpg", "cls")]
    write_tar(tmp_path / "0.tar", members)
    write(tmp_path / "names.txt", "\ncat\n  \nsaw\n\n")
    names = str(tmp_path / "names.txt")
    spec = WebdatasetSource(source="webdataset", path=f"{tmp_path}/0.tar", classnames=names, **SHARED)
    _, failures = build(spec, tmp_path / "index")
    assert {key: row[2] for key, row in rows_of(tmp_path / "index").items()} == {"0/1": ["cat"], "0/3": ["saw"]}
    assert failures == {
        "0.tar: 0": "class 0 has no name: line 1 of the class names is empty",
        "0.tar: 2": "class 2 has no name: line 3 of the class names is empty",
    }


def test_classes_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    kind = datasets.ClassLabel(names=["cat", "saw"])
    features = datasets.Features({"image": datasets.Image(), "label": kind, "labels": datasets.List(kind)})
    images = [{"bytes": photo(number, "PNG"), "path": f"{number}.png"} for number in range(3)]
    columns = {"image": images, "label": [1, -1, None], "labels": [[1, 0], [], None]}
    part = datasets.Dataset.from_dict(columns, features=features)
    (tmp_path / "raw/data").mkdir(parents=True)
    part.to_parquet(tmp_path / "raw/data/train-00000-of-00001.parquet")
    found = {}
    for name in ("label", "labels"):
        used = {"image": "image", "caption": None, "concept": name}
        spec = HubSource(source="hub", path=str(tmp_path / "raw"), splits=("train",), columns=used, **SHARED)  # type: ignore[arg-type]
        _, failures = build(spec, tmp_path / name)
        lacks = f"no caption and no label; looked for {name}; its fields are image, {name}"
        assert list(failures.values()) == [lacks] * 2
        found[name] = rows_of(tmp_path / name)
    assert found["label"] == {"0.png": (["saw"], ["saw"], ["saw"])}
    assert found["labels"] == {"0.png": (["saw", "cat"], ["saw", "cat"], ["saw", "cat"])}


@pytest.mark.parametrize("entry", [[[0], [True]], [[0.5], ["x"]], [[0], [["a"]]]])
def test_names_in_other_languages(entry: Any, tmp_path: Path) -> None:
    write(tmp_path / "babel.json", json.dumps({"DE": entry}))
    with pytest.raises(SourceError, match=r"babel\.json: de should have a list of numbers and one of names"):
        names_in_languages(tmp_path / "babel.json", [], 1)


def test_names_of_folders(tmp_path: Path) -> None:
    write(tmp_path / "raw/n1/a.jpg", photo(0))
    write(tmp_path / "names.json", '{"n1": null}')
    spec = ImageFolderSource(source="image-folder", path=str(tmp_path / "raw"), classnames=f"{tmp_path}/names.json")
    with pytest.raises(SourceError, match="the name of 'n1' is a NoneType, not a text"):
        build(spec, tmp_path / "index")
