"""Which training images a curation keeps: data/curation/<name>/selected.parquet, joined with pairs by id."""

from collections import Counter

import numpy as np
import pyarrow as pa

from pipeline.coded import Coded
from pipeline.config.modalities import many
from pipeline.datasets.caption_pairs import CaptionPairs
from pipeline.datasets.sample_table import IMAGE, SampleTable
from pipeline.datasets.tables import read_pieces
from pipeline.errors import DataError
from pipeline.ids import Ids
from pipeline.paths import curation_folder

SELECTED_FILE = "selected.parquet"


def curated_pairs(name: str, pairs: CaptionPairs, repeats: int, modality: str = IMAGE) -> np.ndarray:
    """Which pairs the curation `name` keeps for training, (P, R) bool: one column per repeat.

    A pair is kept where its image is selected for that repeat. Only images of the train split can be.

    Args:
        modality: of the first of each pair, whose samples the curation selects.

    Raises:
        DataError: there is no selection, or it was made from other splits.
    """
    samples, chosen = _read(name, repeats, modality)
    kept = np.zeros((len(pairs), repeats), dtype=bool)
    for dataset in pairs.dataset.values if len(samples) else ():
        inside = np.flatnonzero(pairs.dataset == dataset)
        rows = samples.find(dataset, pairs.image_id.values)[pairs.image_id.codes[inside]]
        kept[inside] = chosen[rows] & (rows >= 0)[:, None]
    return kept


def _read(name: str, repeats: int, modality: str) -> tuple[SampleTable, np.ndarray]:
    """The samples, and which of them (N, R) bool are selected in each repeat, checked against the splits."""
    path = curation_folder(name) / SELECTED_FILE
    stage = f"dvc repro curate@{name} (curate_concepts@{name} of `concept_curations`)"
    fix = f"Select again with: {stage}"
    if not path.is_file():
        raise DataError(f"No selection of training {many(modality)} at {path}. Make it with: {stage}")
    samples = SampleTable.read((), repeats, modality)
    chosen = np.zeros((len(samples), repeats), dtype=bool)
    total, wrong = Counter[int](), Counter[int]()
    first: dict[int, tuple[str, str, str]] = {}
    for piece in read_pieces(path, ["repeat", "dataset", "image_id"]):
        numbers = piece.column("repeat").to_numpy()
        for number in np.unique(numbers).tolist():
            if number >= repeats:
                raise DataError(f"{path} selects for repeat {number}, but splits.repeats is {repeats}. {fix}")
            inside = piece.filter(pa.array(numbers == number))
            dataset, images = Coded.of(inside.column("dataset")), Ids.of(inside.column("image_id"))
            rows = _rows(samples, dataset, images)
            known = rows >= 0
            chosen[rows[known], number] = True
            known[known] = (samples.splits[rows[known], number] == "train") if known.any() else True
            total[number] += len(rows)
            if not known.all():
                elsewhere = np.flatnonzero(~known)
                wrong[number] += len(elsewhere)
                image_of = zip(dataset[elsewhere].tolist(), images[elsewhere], elsewhere.tolist(), strict=True)
                of_dataset, image, place = min(image_of)
                found = "absent" if rows[place] < 0 else samples.splits[int(rows[place]), number]
                first[number] = min(first.get(number, (of_dataset, image, found)), (of_dataset, image, found))
    for number in sorted(wrong):
        of_dataset, image, found = first[number]
        raise DataError(
            f"{path} selects {wrong[number]} of {total[number]} {many(modality)} for repeat {number} that data/splits "
            f"does not put into train, the first {image} of {of_dataset} ({found}): it was made from "
            f"other splits. {fix}"
        )
    return samples, chosen


def _rows(samples: SampleTable, dataset: Coded, images: Ids) -> np.ndarray:
    """Row of each picture among the samples, (n,) int64; -1 where it is none."""
    rows = np.full(len(images), -1, np.int64)
    for name in dataset.values:
        inside = np.flatnonzero(dataset == name)
        rows[inside] = samples.find(name, images[inside])
    return rows
