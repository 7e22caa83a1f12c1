"""Small data sets in the exact on-disk form of the originals; each function gives what an index of it should say."""

import csv
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.datasets.tables import read_table


@dataclass(frozen=True)
class Row:
    """One image of an index.

    Attributes:
        captions: (language, text, role) in any order.
        classname, split: of its leading label.
    """

    key: str
    captions: frozenset[tuple[str, str, str]]
    classname: str | None = None
    split: str | None = None


def row(key: str, *captions: str, classname: str | None = None, split: str | None = None, **others: str) -> Row:
    """A row with English captions, and `others` by language."""
    said = [("en", text, "caption") for text in captions] + [(code, text, "caption") for code, text in others.items()]
    return Row(key, frozenset(said), classname, split)


def long_row(key: str, text: str, *others: str, split: str) -> Row:
    """A row with a caption that is also a long one."""
    plain = row(key, text, *others, split=split)
    return Row(key, plain.captions | {("en", text, "long")}, None, split)


def indexed(index: Path) -> list[Row]:
    """The rows of an index, in its order."""
    texts = {entry["text_id"]: entry["text"] for entry in read_table(index / "texts.parquet").to_pylist()}
    captions: dict[str, set[tuple[str, str, str]]] = {}
    for pair in read_table(index / "pairs.parquet").to_pylist():
        said = (pair["language"], texts[pair["text_id"]], pair["role"])
        captions.setdefault(pair["image_id"], set()).add(said)
    labels: dict[str, dict[str, Any]] = {}
    for label in read_table(index / "labels.parquet").to_pylist():
        labels.setdefault(label["image_id"], label)
    return [
        Row(
            image["key"],
            frozenset(captions.get(image["image_id"], ())),
            labels[image["image_id"]]["classname"],
            labels[image["image_id"]]["split"],
        )
        for image in read_table(index / "images.parquet").to_pylist()
    ]


def photo(number: int, form: str = "JPEG", size: tuple[int, int] = (24, 16)) -> bytes:
    """Bytes of a picture of one colour, which differ for each number below 64."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (number * 4, 255 - number * 4, 128)).save(buffer, form)
    return buffer.getvalue()


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def mine(root: Path) -> list[Row]:
    write(root / "kite.jpg", photo(0))
    write(root / "cats/tom.png", photo(1, "PNG"))
    table = "file,caption,language,concept,split\nkite.jpg,A red kite,,,\nkite.jpg,Ein roter Drachen,de,,\n"
    write(root / "captions.csv", table + 'cats/tom.png,"A cat, asleep",,Cat,test\n')
    return [
        row("kite.jpg", "A red kite", de="Ein roter Drachen"),
        row("cats/tom.png", "A cat, asleep", classname="Cat", split="test"),
    ]


def beside(root: Path) -> list[Row]:
    write(root / "a.jpg", photo(0))
    write(root / "a.txt", "A red kite.\nA toy in the sky.\n")
    write(root / "deep/b.webp", photo(1, "WEBP"))
    write(root / "deep/b.txt", "\ufeffA caf\u00e9")
    write(root / "notes.md", "not a picture")
    return [row("a.jpg", "A red kite.", "A toy in the sky."), row("deep/b.webp", "A caf\u00e9")]


def linked(root: Path) -> list[Row]:
    """A folder of links into another one."""
    elsewhere = root.with_name("disk2")
    rows = beside(elsewhere)
    root.mkdir(parents=True)
    (root / "a.txt").symlink_to(elsewhere / "a.txt")
    (root / "a.jpg").symlink_to(elsewhere / "a.jpg")
    (root / "deep").symlink_to(elsewhere / "deep")
    return rows


def classes(root: Path) -> list[Row]:
    for number, name in enumerate(("train/great_ape/0.jpg", "train/saw/1.jpg", "val/saw/2.jpg")):
        write(root / name, photo(number))
    return [
        row("train/great_ape/0.jpg", "great ape", classname="great ape", split="train"),
        row("train/saw/1.jpg", "saw", classname="saw", split="train"),
        row("val/saw/2.jpg", "saw", classname="saw", split="validation"),
    ]


def imagenet_folder(root: Path) -> list[Row]:
    """torchvision's ImageNet: folders of WordNet ids, their names, and Babel-ImageNet's names by sorted folder."""
    write(root / "val/n01440764/ILSVRC2012_val_00000293.JPEG", photo(0))
    write(root / "val/n01443537/ILSVRC2012_val_00000236.JPEG", photo(1))
    write(root / "LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n")
    write(
        root / "babel_imagenet-298.json",
        json.dumps({"DE": [[0, 1], ["Schleie", "Goldfisch"]], "FR": [[1], ["poisson rouge"]], "EN": [[0], ["tench"]]}),
    )
    return [
        row("val/n01440764/ILSVRC2012_val_00000293.JPEG", "tench", de="Schleie", classname="tench", split="validation"),
        row(
            "val/n01443537/ILSVRC2012_val_00000236.JPEG",
            "goldfish",
            de="Goldfisch",
            fr="poisson rouge",
            classname="goldfish",
            split="validation",
        ),
    ]


_CELLS = [("a.jpg", "A red kite", "en", "train"), ("b.jpg", "Une scie", "fr", "test")]


def _cells(root: Path) -> list[Row]:
    for number, (name, *_) in enumerate(_CELLS):
        write(root / "pictures" / name, photo(number))
    return [row("a.jpg", "A red kite", split="train"), row("b.jpg", fr="Une scie", split="test")]


def csv_table(root: Path) -> list[Row]:
    expected = _cells(root)
    with open(root / "data.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("filepath", "title", "lang", "subset"), *_CELLS])
    return expected


def tsv_table(root: Path) -> list[Row]:
    expected = _cells(root)
    with open(root / "data.tsv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([("filepath", "title", "lang", "subset"), *_CELLS])
    return expected


def jsonl_table(root: Path) -> list[Row]:
    write(root / "a.jpg", photo(0))
    write(root / "b.jpg", photo(1))
    lines = [{"image": "a.jpg", "captions": ["A red kite", "A toy"]}, {"image": "b.jpg", "captions": "A saw"}]
    write(root / "data.jsonl", "\n".join(json.dumps(line) for line in lines))
    return [row("a.jpg", "A red kite", "A toy"), row("b.jpg", "A saw")]


def parquet_table(root: Path) -> list[Row]:
    """Bytes in two files, as pandas and Hugging Face write them."""
    root.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"jpg": [photo(0)], "caption": ["A red kite"], "url": ["x"]}), root / "part-0.parquet")
    table = {"jpg": [photo(1), photo(2, "PNG")], "caption": ["A saw", "A cat"], "url": ["y", "z"]}
    pq.write_table(pa.table(table), root / "part-1.parquet")
    return [
        row("part-0.parquet, row 1", "A red kite"),
        row("part-1.parquet, row 1", "A saw"),
        row("part-1.parquet, row 2", "A cat"),
    ]


def cc3m(root: Path) -> list[Row]:
    """As `img2dataset --output_format webdataset` writes: tars, and beside each a Parquet and a JSON of statistics."""
    expected, number = [], 0
    for shard, captions in (("00000", ["a red kite", "a saw"]), ("00001", ["a cat"])):
        members, records = [], []
        for place, caption in enumerate(captions):
            key = f"{shard}{place:04d}"
            about = {
                "url": f"http://example.org/{key}",
                "caption": caption,
                "key": key,
                "status": "success",
                "error_message": None,
                "width": 24,
                "height": 16,
                "exif": "{}",
                "sha256": "0" * 64,
            }
            members += [
                (f"{key}.jpg", photo(number)),
                (f"{key}.json", json.dumps(about, indent=4).encode()),
                (f"{key}.txt", caption.encode()),
            ]
            records.append(about)
            expected.append(row(f"{shard}/{key}", caption, split="train"))
            number += 1
        write_tar(root / f"{shard}.tar", members)
        pq.write_table(pa.Table.from_pylist(records), root / f"{shard}.parquet")
        write(root / f"{shard}_stats.json", json.dumps({"count": len(records), "successes": len(records)}))
    return expected


def numbered(root: Path) -> list[Row]:
    """A webdataset of classes, with names in a file."""
    write(root / "classes.txt", "tabby cat\nsaw\n")
    write_tar(
        root / "train-000.tar",
        [("s/0.png", photo(0, "PNG")), ("s/0.cls", b"1"), ("s/1.png", photo(1, "PNG")), ("s/1.cls", b"0\n")],
    )
    return [row("train-000/s/0", "saw", classname="saw"), row("train-000/s/1", "tabby cat", classname="tabby cat")]


def hub(root: Path) -> list[Row]:
    """A repository of the hub as `push_to_hub` leaves it: Parquet by split, whose schema knows pictures and classes."""
    import datasets

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "saw"])})
    pictures = [{"bytes": photo(number, "PNG"), "path": f"{number}.png"} for number in range(3)]
    for split, chosen in (("train", [0, 1]), ("test", [2])):
        part = datasets.Dataset.from_dict(
            {"image": [pictures[n] for n in chosen], "label": [n % 2 for n in chosen]}, features=features
        )
        (root / "data").mkdir(parents=True, exist_ok=True)
        part.to_parquet(root / "data" / f"{split}-00000-of-00001.parquet")
    return [
        row("0.png", "cat", classname="cat", split="train"),
        row("1.png", "saw", classname="saw", split="train"),
        row("2.png", "cat", classname="cat", split="test"),
    ]


_COCO = "COCO_val2014_000000000042.jpg"


def coco_karpathy(root: Path) -> list[Row]:
    write(root / "val2014" / _COCO, photo(0))
    write(root / "train2014/COCO_train2014_000000000009.jpg", photo(1))
    images = [
        {
            "filepath": "val2014",
            "sentids": [0, 1],
            "filename": _COCO,
            "imgid": 0,
            "split": "test",
            "cocoid": 42,
            "sentences": [
                {"tokens": ["a", "kite"], "raw": "A kite.", "imgid": 0, "sentid": 0},
                {"tokens": ["toy"], "raw": "A toy.", "imgid": 0, "sentid": 1},
            ],
        },
        {
            "filepath": "train2014",
            "sentids": [2],
            "filename": "COCO_train2014_000000000009.jpg",
            "imgid": 1,
            "split": "restval",
            "cocoid": 9,
            "sentences": [{"tokens": ["saw"], "raw": "A saw.", "imgid": 1, "sentid": 2}],
        },
    ]
    write(root / "dataset_coco.json", json.dumps({"images": images, "dataset": "coco"}))
    return [
        row(_COCO, "A kite.", "A toy.", split="test"),
        row("COCO_train2014_000000000009.jpg", "A saw.", split="train"),
    ]


def coco(root: Path) -> list[Row]:
    """The official annotations: captions of an image lie apart from each other."""
    for number, name in enumerate(("000000000139.jpg", "000000000285.jpg")):
        write(root / "val2017" / name, photo(number))
    images = [
        {"license": 1, "file_name": "000000000139.jpg", "coco_url": "", "height": 16, "width": 24, "id": 139},
        {"license": 1, "file_name": "000000000285.jpg", "coco_url": "", "height": 16, "width": 24, "id": 285},
    ]
    said = [(285, "A saw."), (139, "A kite."), (285, "A tool."), (139, "A toy.")]
    annotations = [{"image_id": image, "id": number, "caption": text} for number, (image, text) in enumerate(said)]
    write(
        root / "annotations/captions_val2017.json",
        json.dumps({"info": {}, "licenses": [], "images": images, "annotations": annotations}),
    )
    return [
        row("000000000139.jpg", "A kite.", "A toy.", split="validation"),
        row("000000000285.jpg", "A saw.", "A tool.", split="validation"),
    ]


def flickr30k_karpathy(root: Path) -> list[Row]:
    write(root / "flickr30k-images/1000092795.jpg", photo(0))
    image = {
        "sentids": [0],
        "imgid": 0,
        "sentences": [{"tokens": ["kite"], "raw": "A kite.", "imgid": 0, "sentid": 0}],
        "split": "val",
        "filename": "1000092795.jpg",
    }
    write(root / "dataset_flickr30k.json", json.dumps({"images": [image], "dataset": "flickr30k"}))
    return [row("1000092795.jpg", "A kite.", split="validation")]


def flickr30k(root: Path) -> list[Row]:
    for number, name in enumerate(("1000092795.jpg", "10002456.jpg")):
        write(root / "flickr30k-images" / name, photo(number))
    write(
        root / "results_20130124.token",
        "1000092795.jpg#0\tA kite .\n1000092795.jpg#1\tA toy .\n10002456.jpg#0\tA saw .\n",
    )
    return [row("1000092795.jpg", "A kite .", "A toy ."), row("10002456.jpg", "A saw .")]


def clip_classes(root: Path) -> list[Row]:
    write(root / "classnames.txt", "tabby cat\nsaw\n")
    write(root / "zeroshot_classification_templates.txt", "a photo of a {c}.\n")
    write(root / "test/nshards.txt", "1\n")
    write_tar(
        root / "test/0.tar",
        [
            ("s0000000.webp", photo(0, "WEBP")),
            ("s0000000.cls", b"1"),
            ("s0000001.webp", photo(1, "WEBP")),
            ("s0000001.cls", b"0"),
        ],
    )
    write(root / "babel_imagenet-298.json", json.dumps({"DE": [[0], ["Tigerkatze"]], "FR": [[1], ["scie"]]}))
    return [
        row("s0000000", "saw", classname="saw", split="test", fr="scie"),
        row("s0000001", "tabby cat", classname="tabby cat", split="test", de="Tigerkatze"),
    ]


def clip_captions(root: Path) -> list[Row]:
    write(root / "dataset_type.txt", "retrieval\n")
    write(root / "test/nshards.txt", "1\n")
    write_tar(root / "test/0.tar", [("s0000000.jpg", photo(0)), ("s0000000.txt", b"A kite.\nA toy.\nSomething red.")])
    return [row("s0000000", "A kite.", "A toy.", "Something red.", split="test")]


def xtd10(root: Path) -> list[Row]:
    write(root / "coco/val2014" / _COCO, photo(0))
    write(root / "coco/train2014/COCO_train2014_000000000009.jpg", photo(1))
    write(root / "repository/XTD10/test_image_names.txt", f"{_COCO}\nCOCO_train2014_000000000009.jpg\n")
    for file, lines in (
        ("XTD10/test_1kcaptions_es.txt", "Una cometa\nUna sierra"),
        ("MIC/test_1kcaptions_en.txt", "A kite\nA saw"),
        ("MIC/test_1kcaptions_de.txt", "Ein Drachen\nEine S\u00e4ge"),
        ("STAIR/test_1kcaptions_jp.txt", "\u51e7\n\u306e\u3053\u304e\u308a"),
    ):
        write(root / "repository" / file, lines + "\n")
    return [
        row(_COCO, "A kite", es="Una cometa", de="Ein Drachen", ja="\u51e7", split="test"),
        row(
            "COCO_train2014_000000000009.jpg",
            "A saw",
            es="Una sierra",
            de="Eine S\u00e4ge",
            ja="\u306e\u3053\u304e\u308a",
            split="test",
        ),
    ]


def dci(root: Path) -> list[Row]:
    folder = root / "densely_captioned_images"
    write(folder / "photos/sa_1.jpg", photo(0))
    entry = {
        "image": "sa_1.jpg",
        "mask_data": {},
        "mask_keys": [],
        "short_caption": "A kite",
        "extra_caption": "It is red, " * 200,
        "image_data": {},
    }
    write(folder / "annotations/sa_1.json", json.dumps(entry))
    write(folder / "splits.json", json.dumps({"train": [], "valid": ["sa_1.json"], "test": []}))
    return [long_row("sa_1", "A kite\n" + ("It is red, " * 200).strip(), "A kite", split="validation")]


def docci(root: Path) -> list[Row]:
    write(root / "images/train_00000.jpg", photo(0))
    write(root / "images/qual_test_00001.jpg", photo(1))
    lines = [
        {
            "example_id": "train_00000",
            "split": "train",
            "image_file": "train_00000.jpg",
            "description": "An indoor view. " * 30,
        },
        {
            "example_id": "qual_test_00001",
            "split": "qual_test",
            "image_file": "qual_test_00001.jpg",
            "description": "A saw.",
        },
    ]
    write(root / "docci_descriptions.jsonlines", "".join(json.dumps(line) + "\n" for line in lines))
    return [
        long_row("train_00000.jpg", ("An indoor view. " * 30).strip(), split="train"),
        long_row("qual_test_00001.jpg", "A saw.", split="test"),
    ]


def urban1k(root: Path) -> list[Row]:
    for number in (1, 2, 10):
        write(root / f"Urban1k/image/{number}.jpg", photo(number))
        write(root / f"Urban1k/caption/{number}.txt", f"Street {number}. " * 40)
    return [long_row(str(number), (f"Street {number}. " * 40).strip(), split="test") for number in (1, 2, 10)]


LAYOUTS: dict[str, Callable[[Path], list[Row]]] = {
    "mine": mine,
    "beside": beside,
    "linked": linked,
    "classes": classes,
    "imagenet-folder": imagenet_folder,
    "csv": csv_table,
    "tsv": tsv_table,
    "jsonl": jsonl_table,
    "parquet": parquet_table,
    "cc3m": cc3m,
    "numbered": numbered,
    "hub": hub,
    "coco-karpathy": coco_karpathy,
    "coco": coco,
    "flickr30k-karpathy": flickr30k_karpathy,
    "flickr30k": flickr30k,
    "clip-classes": clip_classes,
    "clip-captions": clip_captions,
    "xtd10": xtd10,
    "dci": dci,
    "docci": docci,
    "urban1k": urban1k,
}
