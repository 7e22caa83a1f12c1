"""Which training images a curation keeps: data/curation/<name>/selected.parquet, joined with pairs by id."""

from pathlib import Path

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
from pipeline.row_map import RowMap

SELECTED_FILE = "selected.parquet"


def curated_pairs(name: str, pairs: CaptionPairs, repeats: int, modality: str = IMAGE) -> np.ndarray:
    """Which pairs the curation `name` keeps for training, (P, R) bool: one column per repeat.

    A pair is kept where its image is selected for that repeat. Only images of the train split can be.

    Args:
        modality: of the first of each pair, whose samples the curation selects.

    Raises:
        DataError: there is no selection, or it was made from other splits.
    """
    kept = np.zeros((len(pairs), repeats), dtype=bool)
    selected = _read(name, repeats, modality)
    for repeat, (dataset, images) in enumerate(selected):
        for chosen in dataset.values:
            inside = np.flatnonzero(pairs.dataset == chosen)
            by_id = RowMap(images[dataset == chosen])
            kept[inside, repeat] = (by_id.find(pairs.image_id.values) >= 0)[pairs.image_id.codes[inside]]
    return kept


def _read(name: str, repeats: int, modality: str) -> list[tuple[Coded, Ids]]:
    """The data set and id of the selected images of each repeat, checked against the splits."""
    path = curation_folder(name) / SELECTED_FILE
    fix = f"Select again with: dvc repro curate@{name}"
    if not path.is_file():
        raise DataError(f"No selection of training images at {path}. Make it with: dvc repro curate@{name}")
    parts: list[list[tuple[Ids, Ids]]] = [[(Ids.of(()), Ids.of(()))] for _ in range(repeats)]
    for piece in read_pieces(path, ["repeat", "dataset", "image_id"]):
        numbers = piece.column("repeat").to_numpy()
        for number in np.unique(numbers).tolist():
            if number >= repeats:
                raise DataError(f"{path} selects for repeat {number}, but splits.repeats is {repeats}. {fix}")
            inside = piece.filter(pa.array(numbers == number))
            parts[number].append((Ids.of(inside.column("dataset")), Ids.of(inside.column("image_id"))))
    joined = [[Ids.joined(column) for column in zip(*of_repeat, strict=True)] for of_repeat in parts]
    selected = [(Coded.of(dataset), images) for dataset, images in joined]
    samples = SampleTable.read((), repeats, modality)
    for repeat, (dataset, images) in enumerate(selected):
        _require_train(samples, repeat, dataset, images, path, fix)
    return selected


def _require_train(samples: SampleTable, repeat: int, dataset: Coded, images: Ids, path: Path, fix: str) -> None:
    rows = np.full(len(images), -1, np.int64)
    for name in dataset.values:
        inside = np.flatnonzero(dataset == name)
        rows[inside] = samples.find(name, images[inside])
    train = (samples.splits[:, repeat] == "train")[rows] & (rows >= 0) if len(samples) else rows >= 0
    elsewhere = np.flatnonzero(~train)
    if elsewhere.size:
        keys = zip(dataset[elsewhere].tolist(), images[elsewhere], elsewhere.tolist(), strict=True)
        first, image, place = min(keys)
        found = "absent" if rows[place] < 0 else samples.splits[int(rows[place]), repeat]
        raise DataError(
            f"{path} selects {len(elsewhere)} of {len(images)} {many(samples.modality)} for repeat {repeat} that "
            f"data/splits does not put into train, the first {image} of {first} ({found}): it was made from "
            f"other splits. {fix}"
        )
