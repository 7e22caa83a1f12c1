"""The test split of a data set in CLIP_benchmark's webdataset layout, so that others can repeat a figure.

    python -m pipeline.interop.export classification OUT --dataset stamps --label category --prompt-set ensemble
    python -m pipeline.interop.export retrieval OUT --dataset stamps [--repeat 0] [--split test]

Run at the root of a project after `dvc repro`. Pictures are written as the encoders see them, as lossless PNG. For
classification, `templates.json` holds the very prompts of each class: pass it as `--custom_template_file`.
"""

import argparse
import io
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.coded import Coded
from pipeline.config import ClassificationSet
from pipeline.datasets.caption_pairs import read_caption_pairs
from pipeline.datasets.decode import ImageTable
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.evaluation.caption_sets import RetrievalSet
from pipeline.evaluation.prompts import PromptTable
from pipeline.evaluation.zero_shot import LabelledImages, ZeroShotTest
from pipeline.failures import exit_code
from pipeline.files import write_json
from pipeline.paths import index_folder
from pipeline.row_map import RowMap

Sample = tuple[str, str]  # an image id, and what its label file holds
_PROMPTS = "classnames"


def export_classification(
    out: Path, task: ClassificationSet, prompt_set: str, repeat: int, split: str = "test", group: str = "pairs"
) -> int:
    """Write the labelled images of one split and their zero-shot classes; returns the number of images.

    Classes and prompts are those of the stage `evaluate`: concepts are told apart from the concepts of the split,
    categories from all of the data set, and classes with the same prompts are one.

    Raises:
        DataError: the split holds no labelled image, or a table is missing.
    """
    labelled = LabelledImages.read(task, repeat + 1)
    inside = (labelled.splits[:, repeat] == split) & labelled.named & _readable(task.dataset, labelled.ids, group)
    if not inside.any():
        raise DataError(f"No image of {task.dataset} in split {split!r} of repeat {repeat} has a named {task.label}.")
    table = PromptTable(_PROMPTS)
    test = ZeroShotTest.prompted(labelled, inside, task, table, prompt_set)
    strings = _strings("prompts", _PROMPTS)
    called = table.names(task.dataset, task.label)
    names = [called[texts[0]] for texts in test.texts]
    samples = [(str(image), str(number)) for image, number in zip(test.images, test.classes, strict=True)]
    count = _write(out, split, _pictures(task.dataset, samples, group), "cls")
    (out / "classnames.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    by_class = {name: [strings[text] for text in texts] for name, texts in zip(names, test.texts, strict=True)}
    (out / "zeroshot_classification_templates.txt").write_text("{c}\n", encoding="utf-8")
    write_json({f"wds/{out.name}": by_class, out.name: by_class}, out / "templates.json")
    (out / "dataset_type.txt").write_text("classification\n", encoding="utf-8")
    return count


def export_retrieval(out: Path, dataset: str, repeat: int, split: str = "test", group: str = "pairs") -> int:
    """Write the images of one split with all their English captions; returns the number of images.

    Raises:
        DataError: the split holds no caption; or images share a caption, which CLIP_benchmark counts as wrong for all
            images but one, so that its recall could not agree.
    """
    pairs = read_caption_pairs([dataset], repeat + 1)
    pairs = pairs.of(repeat, split, dataset)
    pairs = pairs.where(_readable(dataset, pairs.image_id, group))
    if not len(pairs):
        raise DataError(f"No image of {dataset} in split {split!r} of repeat {repeat} has an English caption.")
    items = RetrievalSet.of(pairs)
    shared = len(items.positives) - len(items.texts)
    if shared:
        raise DataError(
            f"{shared} captions of {dataset} in split {split!r} of repeat {repeat} belong to more than one image. "
            "CLIP_benchmark takes a caption to be correct for a single image, so its recall would be another quantity."
        )
    strings = _strings(group, dataset)
    broken = [text for text in items.texts.tolist() if len(strings[text].splitlines()) != 1]
    if broken:
        raise DataError(
            f"{len(broken)} captions of {dataset} are empty or of several lines, the first {strings[broken[0]]!r}; the "
            "layout keeps one caption a line."
        )
    captions: dict[int, list[str]] = {}
    for image, text in items.positives.tolist():
        captions.setdefault(image, []).append(strings[str(items.texts[text])])
    samples = [(str(items.images[image]), "\n".join(texts)) for image, texts in sorted(captions.items())]
    count = _write(out, split, _pictures(dataset, samples, group), "txt")
    (out / "dataset_type.txt").write_text("retrieval\n", encoding="utf-8")
    return count


def _readable(dataset: str, ids: Coded, group: str) -> np.ndarray:
    indexed = RowMap(ImageTable(index_folder(group, dataset)).row_ids)
    return np.asarray(indexed.find(ids.ids()) >= 0)


def _strings(group: str, dataset: str) -> dict[str, str]:
    table = read_table(index_folder(group, dataset) / "texts.parquet", ["text_id", "text"])
    return dict(zip(table.column("text_id").to_pylist(), table.column("text").to_pylist(), strict=True))


def _pictures(dataset: str, samples: Iterable[Sample], group: str) -> Iterator[tuple[bytes, str]]:
    """PNG bytes and label of each sample; pictures that cannot be decoded are left out, as the encode stage does."""
    table = ImageTable(index_folder(group, dataset))
    position = {identifier: place for place, identifier in enumerate(table.ids)}
    for identifier, label in samples:
        try:
            picture = table.load(position[identifier])
        except DataError as error:
            sys.stderr.write(f"left out: image {identifier}: {error}\n")
            continue
        buffer = io.BytesIO()
        picture.save(buffer, format="PNG")
        yield buffer.getvalue(), label


def _write(out: Path, split: str, samples: Iterable[tuple[bytes, str]], extension: str) -> int:
    """Write one archive; returns the number of samples."""
    count = 0
    folder = out / split
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "0.tar", "w") as archive:
        for count, (picture, label) in enumerate(samples, start=1):
            for suffix, content in (("png", picture), (extension, label.encode("utf-8"))):
                entry = tarfile.TarInfo(f"{count:08d}.{suffix}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    (folder / "nshards.txt").write_text("1\n", encoding="utf-8")
    return count


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.interop.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("task", choices=("classification", "retrieval"))
    parser.add_argument("out", type=Path, help="folder to write; its name becomes the name of the data set")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--label", choices=("concept", "category"), default="concept")
    parser.add_argument("--prompt-set", default="ensemble", help="as in prompts.sets of params.yaml")
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--split", default="test")
    given = parser.parse_args(arguments)
    return exit_code("python -m pipeline.interop.export", lambda: _run(given))


def _run(given: argparse.Namespace) -> int:
    if given.task == "classification":
        task = ClassificationSet(dataset=given.dataset, label=given.label)
        count = export_classification(given.out, task, given.prompt_set, given.repeat, given.split)
    else:
        count = export_retrieval(given.out, given.dataset, given.repeat, given.split)
    print(f"{count} images in {given.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
