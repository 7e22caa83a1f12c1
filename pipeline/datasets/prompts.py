"""Class names in templates, encoded like any other texts, so that evaluation needs no text encoder."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import PromptedClasses
from pipeline.datasets.segmentation.build import CLASSES_FILE
from pipeline.datasets.tables import PROMPTS, TEXTS, read_pieces, read_table, text_id, write_table
from pipeline.datasets.templates import prompt_set
from pipeline.errors import DataError
from pipeline.files import write_json
from pipeline.paths import DATA

log = logging.getLogger(__name__)

SEGMENT = "segment"  # the label of classes of label maps
ENGLISH = "en"
NAME_OF = {"concept": "classname", "category": "category"}  # the column with the names of the classes of a label


class PromptClass(NamedTuple):
    """A name of a class; `value` is its value in the column `label` of samples.parquet, or in label maps."""

    dataset: str
    label: str
    classname: str
    value: str
    language: str = ENGLISH


def build_prompts(splits: Path, params: PromptedClasses, out: Path, indexes: Path = DATA / "index") -> dict[str, Any]:
    """Write texts.parquet, prompts.parquet and about.json into `out`; returns about.json.

    Classes are the labels that `params.classes` names, as samples.parquet has them, and those of the label maps of
    `params.segmentation`. Rows run template by template, so that editing one template changes one block of texts and
    leaves the others in place. Without any class the tables are empty, and about.json says why. Names in languages
    other than English are used as prompts unchanged, in every set.
    about.json has, per set and data set, the number of templates and their SHA-256.

    Args:
        indexes: the folder of all indexes, for sets that come with their data set and for classes of label maps.

    Raises:
        DataError: there are no samples, or a data set has no templates of its own.
        ConfigError: as `prompt_set`.
    """
    folders = {entry.dataset: indexes / "pairs" / entry.dataset for entry in params.classes}
    folders |= {dataset: indexes / "pairs" / dataset for dataset in params.segmentation}
    tables = [splits / "samples.parquet", *sorted(splits.glob("*_samples.parquet"))]  # of pictures, and of the rest
    english = _classes(tables, params)
    classes = list(dict.fromkeys((*english, *_translated(english, params), *_segments(params, folders))))
    reason = None if classes else _nothing_to_prompt(params)
    if reason and (params.classes or params.segmentation):
        log.warning("No prompt is written: %s", reason)
    texts: dict[tuple[str, str], dict[str, str]] = {}
    prompts: list[dict[str, Any]] = []
    sets: dict[str, dict[str, dict[str, Any]]] = {}
    for set_name, written in params.sets.items():
        of = {d: prompt_set(written, folders[d]) for d in dict.fromkeys(named.dataset for named in classes)}
        sets[set_name] = {dataset: prompts_of.about() for dataset, prompts_of in of.items()}
        strings_of = [
            of[named.dataset].prompts(named.classname) if named.language == ENGLISH else (named.classname,)
            for named in classes
        ]
        for position in range(max(map(len, strings_of), default=0)):
            for named, strings in zip(classes, strings_of, strict=True):
                if position >= len(strings):
                    continue
                text = strings[position]
                identity = text_id(text)
                row = {"text_id": identity, "modality": "text", "text": text, "role": "prompt"}
                texts.setdefault((identity, named.language), row | {"language": named.language})
                prompts.append(named._asdict() | {"set": set_name, "template": position, "text_id": identity})
    write_table(pa.Table.from_pylist(list(texts.values()), schema=TEXTS), out / "texts.parquet")
    write_table(pa.Table.from_pylist(prompts, schema=PROMPTS), out / "prompts.parquet")
    about = {
        "available": bool(classes),
        "reason": reason,
        "source": "prompts",
        "languages": sorted({language for _, language in texts}),
        "sets": sets,
        "counts": {"texts": len(texts), "prompts": len(prompts), "classes": len(classes)},
    }
    write_json(about, out / "about.json")
    return about


def _nothing_to_prompt(params: PromptedClasses) -> str:
    """Why there is no class."""
    asked = [f"{entry.label} of {entry.dataset}" for entry in params.classes]
    asked += [f"the label maps of {dataset}" for dataset in params.segmentation]
    return f"no sample has a class name ({', '.join(asked)})" if asked else "no task asks for classes"


def _classes(tables: Sequence[Path], params: PromptedClasses) -> dict[PromptClass, None]:
    """The classes that samples have, each once, in the order of `params.classes` and of samples."""
    found: dict[PromptClass, None] = {}
    for entry in params.classes:
        columns = list(dict.fromkeys(("dataset", NAME_OF[entry.label], entry.label)))
        for piece in chain.from_iterable(read_pieces(path, columns) for path in tables):
            named = piece.column(NAME_OF[entry.label])
            rows = piece.filter(pc.and_(pc.equal(piece.column("dataset"), entry.dataset), named.is_valid()))
            pairs = zip(*(rows.column(name).to_pylist() for name in (NAME_OF[entry.label], entry.label)), strict=True)
            for classname, value in dict.fromkeys(pairs):
                found.setdefault(PromptClass(entry.dataset, entry.label, classname, value))
    return found


def _translated(classes: Iterable[PromptClass], params: PromptedClasses) -> Iterator[PromptClass]:
    """Classes under the names that `params.translations` gives them.

    Raises:
        DataError: a class has no name in a language that others of its label have one in.
    """
    for entry in params.translations:
        for named in classes:
            if (named.dataset, named.label) != (entry.dataset, entry.label):
                continue
            if named.value not in entry.names:
                raise DataError(
                    f"prompts.translations has no name in {entry.language!r} for {named.label} {named.value!r} of "
                    f"{named.dataset}; add it to `names` in params.yaml."
                )
            yield named._replace(classname=entry.names[named.value], language=entry.language)


def _segments(params: PromptedClasses, folders: Mapping[str, Path]) -> Iterator[PromptClass]:
    """The classes of label maps in every language, without the background."""
    for dataset in params.segmentation:
        for row in read_table(folders[dataset] / CLASSES_FILE).to_pylist():
            if row["kind"] == "class":
                yield PromptClass(dataset, SEGMENT, row["classname"], str(row["value"]), row["language"])
