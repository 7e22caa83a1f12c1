"""Class names in templates: texts like any other, so that evaluation needs no text encoder."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config.schema import PromptsParams
from pipeline.datasets.tables import PROMPTS, TEXTS, read_table, text_id, write_table
from pipeline.datasets.templates import templates_digest, templates_of
from pipeline.errors import DataError
from pipeline.files import write_json
from pipeline.paths import DATA

_ARTICLE = re.compile(r"\b([Aa]) \{\}")
_VOWEL = re.compile(r"[aeiou](?!ni[cqtv]|uro|ne\b|ne-)", re.IGNORECASE)  # by letter, less "unicorn", "euro", "one-"


def build_prompts(
    splits: Path, params: PromptsParams, out: Path, indexes: Path = DATA / "index" / "pairs"
) -> dict[str, Any]:
    """Write texts.parquet, prompts.parquet and about.json into `out`; gives the counts.

    Classes are the labels that `params.classes` names, as samples.parquet has them. Rows run template by template,
    so that editing one template changes one block of texts and leaves the others where they are. about.json has, per
    set and data set, the number of templates and their SHA-256.

    Args:
        indexes: the folder of all indexes, for sets that come with their data set.

    Raises:
        DataError: there are no samples, none has a class name, or a data set has no templates of its own.
        ConfigError: as `templates_of`.
    """
    samples = read_table(splits / "samples.parquet", ["dataset", "concept", "classname", "category"]).to_pylist()
    classes = list(dict.fromkeys(_classes(samples, params)))
    if not classes:
        asked = ", ".join(f"{entry.label} of {entry.dataset}" for entry in params.classes)
        raise DataError(f"No sample in {splits} has a class among prompts.classes ({asked}): nothing to prompt with.")
    texts: dict[str, dict[str, str]] = {}
    prompts: list[dict[str, Any]] = []
    sets: dict[str, dict[str, dict[str, Any]]] = {}
    for set_name, written in params.sets.items():
        of = {dataset: templates_of(written, indexes / dataset) for dataset in dict.fromkeys(c[0] for c in classes)}
        sets[set_name] = {d: {"templates": len(found), "sha256": templates_digest(found)} for d, found in of.items()}
        for position in range(max(map(len, of.values()))):
            for dataset, label, classname, value in classes:
                if position >= len(of[dataset]):
                    continue
                text = fill(of[dataset][position], classname)
                identity = text_id(text)
                row = {"text_id": identity, "modality": "text", "text": text, "language": "en", "role": "prompt"}
                texts.setdefault(identity, row)
                prompts.append(
                    {
                        "dataset": dataset,
                        "label": label,
                        "classname": classname,
                        "value": value,
                        "set": set_name,
                        "template": position,
                        "text_id": identity,
                    }
                )
    write_table(pa.Table.from_pylist(list(texts.values()), schema=TEXTS), out / "texts.parquet")
    write_table(pa.Table.from_pylist(prompts, schema=PROMPTS), out / "prompts.parquet")
    about = {
        "available": True,
        "reason": None,
        "source": "prompts",
        "languages": ["en"],
        "sets": sets,
        "counts": {"texts": len(texts), "prompts": len(prompts), "classes": len(classes)},
    }
    write_json(about, out / "about.json")
    return about


def fill(template: str, classname: str) -> str:
    """Put a class name into a template; "a {}" becomes "an {}" before a vowel."""
    if _VOWEL.match(classname):
        template = _ARTICLE.sub(r"\1n {}", template)
    return template.replace("{}", classname)


def _classes(samples: list[dict[str, Any]], params: PromptsParams) -> Iterator[tuple[str, str, str, str]]:
    """(data set, label, class name, value) of every sample, in the order of `params.classes`."""
    for entry in params.classes:
        name = "classname" if entry.label == "concept" else "category"
        for row in samples:
            if row["dataset"] == entry.dataset and row[name] is not None:
                yield entry.dataset, entry.label, row[name], row[entry.label]
