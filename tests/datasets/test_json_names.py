"""Names that stand twice in an object of JSON are said; Python would keep the last one."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from pipeline.config import CaptionFileSource, DatasetSpec
from pipeline.datasets.babel import names_in_languages
from pipeline.datasets.descriptions import read_descriptions
from pipeline.datasets.index import build_index
from pipeline.datasets.json_names import distinct, parsed, repeated_in
from pipeline.datasets.tables import read_table
from pipeline.errors import SourceError
from tests.datasets.layouts import photo, write, write_tar


def test_parsed_names_them_at_any_depth() -> None:
    content, names = parsed('{"a": [{"b": 1, "b": 2}, {"c": 3}], "d": {"e": {"f": 1, "f": 2, "f": 3}}}')
    assert content == {"a": [{"b": 2}, {"c": 3}], "d": {"e": {"f": 3}}}
    assert names == ["b", "f"]
    assert repeated_in(content) == "it has several ['b']"
    assert repeated_in(content["d"]) == "it has several ['f']"
    assert repeated_in(content["a"][1]) is None
    assert distinct('[{"a": 1}, {"a": 2}]') == [{"a": 1}, {"a": 2}]
    with pytest.raises(ValueError, match="several times in one object: 'b', 'f' .2 in all."):
        distinct('{"a": {"b": 1, "b": 2}, "d": {"f": 1, "f": 2}}')


def index(root: Path, **entry: Any) -> dict[str, str]:
    entry = {"path": f"{root}/raw.x", "max_failure_rate": 1.0} | entry
    spec: Any = TypeAdapter(DatasetSpec).validate_json(json.dumps(entry))
    build_index(spec, root / "index", root)
    return {row["key"]: row["reason"] for row in read_table(root / "index/failures.parquet").to_pylist()}


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_rows_of_tables(kind: str, tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.jpg", photo(number))
    rows = ['{"image": "0.jpg", "caption": "a"}', '{"image": "1.jpg", "caption": "b", "caption": "c"}']
    rows.append('{"image": "2.jpg", "caption": "d", "more": {"x": 1, "x": 2}}')
    write(tmp_path / f"t.{kind}", "\n".join(rows) if kind == "jsonl" else f"[{','.join(rows)}]")
    found = index(tmp_path, source="table", path=str(tmp_path / f"t.{kind}"))
    place = "line" if kind == "jsonl" else "row"
    assert found == {f"{place} 2": "it has several ['caption']", f"{place} 3": "it has several ['x']"}


def test_entries_of_coco_and_karpathy(tmp_path: Path) -> None:
    for number in range(2):
        write(tmp_path / f"{number}.jpg", photo(number))
    images = '[{"id": 0, "file_name": "0.jpg"}, {"id": 1, "file_name": "1.jpg", "file_name": "0.jpg"}]'
    annotations = '[{"image_id": 0, "caption": "a"}, {"image_id": 0, "caption": "b", "caption": "c"}]'
    write(tmp_path / "captions.json", f'{{"images": {images}, "annotations": {annotations}}}')
    assert _caption_index(tmp_path) == {
        "captions.json, annotation 1": "it has several ['caption']",
        "captions.json, image 1": "it has several ['file_name']",
    }
    sentences = '[{"raw": "a", "raw": "b"}]'
    good = '{"filename": "0.jpg", "split": "train", "sentences": [{"raw": "a"}]}'
    bad = f'{{"filename": "1.jpg", "split": "train", "sentences": {sentences}}}'
    write(tmp_path / "captions.json", f'{{"images": [{good}, {bad}]}}')
    assert _caption_index(tmp_path) == {"captions.json, image 1": "it has several ['raw']"}
    write(tmp_path / "captions.json", f'{{"images": [{good}], "images": []}}')
    with pytest.raises(SourceError, match="several .'images'.; keep one each"):
        _caption_index(tmp_path)


def _caption_index(root: Path) -> dict[str, str]:
    annotations = str(root / "captions.json")
    spec = CaptionFileSource(source="coco", images=str(root), annotations=annotations, max_failure_rate=1.0)
    build_index(spec, root / "index", root)
    return {row["key"]: row["reason"] for row in read_table(root / "index/failures.parquet").to_pylist()}


def test_members_of_a_webdataset(tmp_path: Path) -> None:
    twice = b'{"caption": "a", "caption": "b"}'
    write_tar(tmp_path / "0.tar", [("a.jpg", photo(0)), ("a.json", twice), ("b.jpg", photo(1)), ("b.txt", b"b")])
    found = index(tmp_path, source="webdataset", path=f"{tmp_path}/*.tar", captions=["json.caption", "txt"])
    assert list(found) == ["0.tar: a"]
    assert "several times in one object: 'caption'" in found["0.tar: a"]


def test_mappings_are_refused_whole(tmp_path: Path) -> None:
    write(tmp_path / "raw/n1/a.jpg", photo(0))
    write(tmp_path / "names.json", '{"n1": "cat", "n1": "dog"}')
    with pytest.raises(SourceError, match="several times in one object: 'n1'"):
        index(tmp_path, source="image-folder", path=str(tmp_path / "raw"), classnames=str(tmp_path / "names.json"))
    write(tmp_path / "babel.json", '{"DE": [[0], ["Katze"]], "DE": [[0], ["Hund"]]}')
    with pytest.raises(SourceError, match="'DE'"):
        names_in_languages(tmp_path / "babel.json", (), 1)
    write(tmp_path / "said.json", '{"cat": ["a"], "cat": ["b"]}')
    with pytest.raises(SourceError, match="'cat'"):
        read_descriptions(tmp_path / "said.json")


def test_null_names_of_classes_are_left_out_with_their_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"DE": [[0, 1, 2], ["Katze", None, float("nan")]], "FR": [[0, 1], ["chat", "chien"]]}
    write(tmp_path / "babel.json", json.dumps(content))
    names = names_in_languages(tmp_path / "babel.json", (), 3)
    assert [[(c.language, c.text) for c in of] for of in names] == [
        [("de", "Katze"), ("fr", "chat")],
        [("fr", "chien")],
        [],
    ]
    assert "2 names of classes in de are null and left out" in caplog.text
    assert "fr" not in caplog.text
    write(tmp_path / "babel.json", json.dumps({"DE": [[0], [7]]}))
    with pytest.raises(SourceError, match="de should have"):
        names_in_languages(tmp_path / "babel.json", (), 1)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_letter_case_tells_concepts_of_a_table_apart(kind: str, tmp_path: Path) -> None:
    concepts = ["Cardigan", "cardigan", "A Cat", "cat", "Kite", "the kite", "a cardigan", "Dog"]
    rows = [{"image": f"{n}.jpg", "caption": f"c{n}", "concept": concept} for n, concept in enumerate(concepts)]
    for number in range(len(rows)):
        write(tmp_path / f"{number}.jpg", photo(number))
    path = tmp_path / f"t.{kind}"
    if kind == "csv":
        write(path, "image,caption,concept\n" + "".join(f"{','.join(row.values())}\n" for row in rows))
    elif kind == "jsonl":
        write(path, "\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    columns = {"image": "image", "caption": "caption", "concept": "concept"}
    assert index(tmp_path, source="table", path=str(path), columns=columns) == {}
    found = read_table(tmp_path / "index/labels.parquet")["concept"].to_pylist()
    assert found == ["Cardigan", "cardigan", "cat", "cat", "Kite", "kite", "cardigan", "dog"]
