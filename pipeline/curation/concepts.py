"""Concepts by name: where they come from, which samples have them, and what stands for each in a space."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.concept_curations import ConceptCuration, ConceptList
from pipeline.curation.keywords import Entries
from pipeline.curation.samples import Samples
from pipeline.curation.spaces import Space, class_texts
from pipeline.curation.vectors import PoolVectors
from pipeline.errors import DataError
from pipeline.paths import CONCEPTS


@dataclass(frozen=True)
class NamedConcept:
    """A concept, and the samples that are known to have it.

    Attributes:
        carriers: (n,) int64, rows whose label is the name or, without labels, whose caption has it.
        by: "labels" or "captions".
    """

    name: str
    carriers: np.ndarray
    by: str


def named_concepts(lists: Sequence[ConceptList], samples: Samples) -> list[NamedConcept]:
    """The union of some lists, by name and sorted; names that differ in capitals alone are one.

    Raises:
        DataError: a file is missing or has no name; no list has any.
    """
    labelled: dict[str, list[np.ndarray]] = {}
    names: dict[str, str] = {}
    for entry in lists:
        if entry.labels is not None:
            column = samples.pool.labels[entry.labels.label]
            inside = samples.pool.dataset == entry.labels.dataset
            for value in column[inside].distinct():
                names.setdefault(value.lower(), value)
                labelled.setdefault(value.lower(), []).append(np.flatnonzero(inside & (column == value)))
        else:
            for name in entry.keywords or read_names(CONCEPTS / str(entry.file)):
                names.setdefault(name.lower(), name)
    if not names:
        raise DataError("The curation's `concepts` name nothing that a train picture of the pool is labelled with.")
    unlabelled = sorted(name for name in names if name not in labelled)
    mentioned = mentions(unlabelled, samples)
    out = []
    for key, name in sorted(names.items()):
        rows = labelled.get(key) or [_labelled_anywhere(key, samples)]
        carriers = np.unique(np.concatenate(rows))
        by_caption = key in mentioned and not carriers.size
        out.append(
            NamedConcept(name, mentioned[key] if by_caption else carriers, "captions" if by_caption else "labels")
        )
    return out


def read_names(path: Path) -> list[str]:
    """The names of a file, one a line; empty lines and those that begin with # are left out.

    Raises:
        DataError: it cannot be read, or has none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}). A list of concepts is a text file in UTF-8 with a name a line, in the "
            f"folder {path.parent} of the project."
        ) from error
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not names:
        raise DataError(f"{path} has no name. Write one a line.")
    return list(dict.fromkeys(names))


def mentions(names: Sequence[str], samples: Samples) -> dict[str, np.ndarray]:
    """Of each name in lower case the rows (n,) int64 whose caption has it as whole words."""
    entries = Entries(names)
    found: dict[str, list[int]] = {name: [] for name in names}
    for row, text in enumerate(samples.text if names else ()):
        for place in entries.matches(text):
            found[names[place]].append(row)
    return {name: np.array(rows, np.int64) for name, rows in found.items()}


def has_any(names: Sequence[str], samples: Samples) -> np.ndarray:
    """Which samples (N,) bool are labelled with one of some names, or have one in their caption."""
    out = np.zeros(len(samples), bool)
    lowered = [name.lower() for name in names]
    for rows in mentions(lowered, samples).values():
        out[rows] = True
    for name in lowered:
        out[_labelled_anywhere(name, samples)] = True
    return out


def _labelled_anywhere(name: str, samples: Samples) -> np.ndarray:
    found = np.zeros(len(samples), bool)
    for column in samples.pool.labels.values():
        values = column.values.tolist()
        for place in (place for place, value in enumerate(values) if value.lower() == name):
            found |= column.codes == place
    return np.flatnonzero(found)


@dataclass(frozen=True)
class Prototypes:
    """What stands for concepts.

    Attributes:
        concepts: those that have something.
        vectors: (C, D) float32, unit vectors.
        shots: (C,) int64, pictures behind each; 0 where class texts stand alone.
        without: names of those that no sample has, which are left out.
    """

    concepts: list[NamedConcept]
    vectors: np.ndarray
    shots: np.ndarray
    without: list[str]


def concept_prototypes(
    spec: ConceptCuration, concepts: list[NamedConcept], samples: Samples, space: Space, seed: int
) -> Prototypes:
    """The mean of up to `shots` pictures of each concept in the order of a hash, of its class texts, or of both.

    Raises:
        DataError: no concept has a picture, or one has no class text.
    """
    without: list[str] = []
    chosen = [samples.pool.in_hash_order(concept.carriers, seed)[: spec.shots] for concept in concepts]
    if spec.prototypes != "texts":
        without = [one.name for one, rows in zip(concepts, chosen, strict=True) if not len(rows)]
        kept = [place for place, rows in enumerate(chosen) if len(rows)]
        concepts, chosen = [concepts[place] for place in kept], [chosen[place] for place in kept]
        if not concepts:
            raise DataError("None of the concepts has a picture in the pool. Set `prototypes: texts`, or name others.")
    parts = []
    if spec.prototypes != "texts":
        parts.append(_of_images(space.images.vectors(samples), chosen))
    if spec.prototypes != "images":
        assert space.captions is not None, "the curation names a view of texts"
        parts.append(class_texts(space.captions, [concept.name for concept in concepts]))
    shots = np.array([0 if spec.prototypes == "texts" else len(rows) for rows in chosen], np.int64)
    return Prototypes(concepts, unit_mean(parts), shots, without)


def unit_mean(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of unit vectors (C, D) of several kinds, at unit length."""
    mean = np.mean([part.astype(np.float64) for part in parts], axis=0)
    return np.asarray(mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12), np.float32)


def _of_images(vectors: PoolVectors, chosen: Sequence[np.ndarray]) -> np.ndarray:
    means = np.stack([vectors.unit(rows).mean(axis=0, dtype=np.float64) for rows in chosen])
    return unit_mean([means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)])
