"""CLIP_benchmark's webdataset layout: classes and captions are indexed in place, bad samples listed."""

import tarfile
from pathlib import Path

import pytest

from pipeline.config import ClipBenchmarkSource
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.index import build_index
from pipeline.datasets.tables import read_table
from pipeline.errors import SourceError
from tests.datasets.conftest import picture
from tests.datasets.layouts import write_tar


def pack(path: Path, members: list[tuple[str, bytes]]) -> None:
    """A tar with a link in it, which the index must pass over."""
    write_tar(path, members)
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("evil.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def classification(root: Path) -> ClipBenchmarkSource:
    root.mkdir(exist_ok=True)
    (root / "classnames.txt").write_text("tabby cat\nsaw\n")
    (root / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\nart of the {c}.\n")
    pack(root / "test/0.tar", [("s0.png", picture(0)), ("s0.cls", b"1"), ("s1.PNG", picture(1)), ("s1.cls", b"0\n")])
    pack(root / "test/1.tar", [("../../s2.png", picture(2)), ("../../s2.cls", b"0")])
    pack(root / "train/0.tar", [("s3.png", picture(3)), ("s3.cls", b"0")])
    for split, shards in (("test", 2), ("train", 1)):
        (root / split / "nshards.txt").write_text(f"{shards}\n")
    return ClipBenchmarkSource(source="clip-benchmark", path=str(root), splits=("train", "test"))


def test_classes(tmp_path: Path) -> None:
    spec = classification(tmp_path / "raw")
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert about["counts"] == {"images": 3, "texts": 2, "pairs": 3, "concepts": 2, "failures": 5}
    assert about["templates"] == ["a photo of a {}.", "art of the {}."]
    labels = read_table(tmp_path / "index/labels.parquet").to_pylist()
    assert [(row["classname"], row["split"]) for row in labels] == [
        ("tabby cat", "train"),
        ("saw", "test"),
        ("tabby cat", "test"),
    ]
    table = ImageTable(tmp_path / "index")
    assert [table.load(place).getpixel((0, 0)) for place in range(3)] == [(n, 0, 0) for n in (3, 0, 1)]
    reasons = read_table(tmp_path / "index/failures.parquet")["reason"].to_pylist()
    assert (
        sorted(reasons)
        == ["refused: a symbolic link, not a file"] * 3 + ["refused: its name leads out of the archive"] * 2
    )
    assert not (tmp_path / "index/images.tar").exists()


def test_classes_that_share_a_key_stay_apart(tmp_path: Path) -> None:
    spec = classification(tmp_path / "raw")
    (tmp_path / "raw/classnames.txt").write_text("St. Bernard\nSt. Gallen\n")
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert about["counts"]["concepts"] == 2
    labels = read_table(tmp_path / "index/labels.parquet").to_pylist()
    assert {row["concept"] for row in labels} == {"st. bernard", "st. gallen"}


def test_an_empty_line_among_the_classes_keeps_its_number(tmp_path: Path) -> None:
    spec = classification(tmp_path / "raw")
    pack(tmp_path / "raw/train/0.tar", [(f"t{n}.{e}", c) for n in range(4) for e, c in members_of_class(n)])
    (tmp_path / "raw/classnames.txt").write_text("far\u2028 away\r\n\nnear\x85by\nnext\n\n \n")
    build_index(spec.model_copy(update={"splits": ("train",)}), tmp_path / "index", tmp_path)
    labels = read_table(tmp_path / "index/labels.parquet").to_pylist()
    assert [row["classname"] for row in labels] == ["far\u2028 away", "near\x85by", "next"]
    failures = {row["key"]: row["reason"] for row in read_table(tmp_path / "index/failures.parquet").to_pylist()}
    assert failures["train/0.tar: t1"] == "class 1 has no name: line 2 of the class names is empty"


def members_of_class(number: int) -> list[tuple[str, bytes]]:
    return [("png", picture(number)), ("cls", str(number).encode())]


def test_several_captions_per_image(tmp_path: Path) -> None:
    root = tmp_path / "raw"
    pack(root / "test/0.tar", [("a.jpg", picture(0)), ("a.txt", "A cat.\n\n Ein Fröschlein \n".encode())])
    (root / "test/nshards.txt").write_text("1")
    (root / "dataset_type.txt").write_text("retrieval\n")
    spec = ClipBenchmarkSource(source="clip-benchmark", path=str(root))
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert about["counts"] == {"images": 1, "texts": 2, "pairs": 2, "concepts": 1, "failures": 1}
    assert read_table(tmp_path / "index/texts.parquet")["text"].to_pylist() == ["A cat.", "Ein Fröschlein"]


def test_bad_samples_are_listed(tmp_path: Path) -> None:
    spec = classification(tmp_path / "raw")
    members = [("ok.png", picture(8)), ("ok.cls", b"0"), ("cut.png", picture(9)[:50]), ("cut.cls", b"0")]
    members += [("high.png", picture(10)), ("high.cls", b"2"), ("word.png", picture(11)), ("word.cls", b"cat")]
    members += [("bare.png", picture(12)), ("text.cls", b"1"), ("noext", b"x")]
    pack(tmp_path / "raw/train/0.tar", members)
    about = build_index(spec, tmp_path / "index", tmp_path)
    assert (about["counts"]["images"], about["counts"]["failures"]) == (3, 10)
    rows = read_table(tmp_path / "index/failures.parquet").to_pylist()
    failures = {row["key"]: row["reason"] for row in rows if not row["reason"].startswith("refused")}
    expected = {
        "cut": "damaged image",
        "high": "class '2'; classnames.txt has the numbers 0 to 1",
        "word": "class 'cat'",
        "bare": "no .cls file",
        "text": "no picture",
    }
    assert {key.split(": ")[1] for key in failures} == set(expected)
    assert all(expected[key.split(": ")[1]] in reason for key, reason in failures.items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "classnames.txt").unlink(), "expected one class per line"),
        (lambda root: (root / "test/nshards.txt").write_text("many"), "Splits found in .*: test, train"),
        (lambda root: (root / "test/1.tar").unlink(), "1.tar cannot be read"),
        (lambda root: (root / "test/1.tar").write_bytes(b"no archive" * 100), "1.tar cannot be read"),
        (lambda root: (root / "dataset_type.txt").write_text("multilabel"), "holds 'multilabel'"),
        (lambda root: (root / "classnames.txt").write_bytes(b"caf\xe9"), "UTF-8"),
    ],
)
def test_a_broken_layout(spoil, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    spec = classification(tmp_path / "raw")
    spoil(tmp_path / "raw")
    with pytest.raises(SourceError, match=message):
        build_index(spec, tmp_path / "index", tmp_path)
