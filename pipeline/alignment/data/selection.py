"""Which training images a curation keeps: data/curation/<name>/selected.parquet, joined with pairs by id."""

import numpy as np

from pipeline.datasets.caption_pairs import CaptionPairs, read_samples
from pipeline.datasets.tables import read_table
from pipeline.errors import DataError
from pipeline.paths import curation_folder

SELECTED_FILE = "selected.parquet"


def curated_pairs(name: str, pairs: CaptionPairs, repeats: int) -> np.ndarray:
    """Which pairs the curation `name` keeps for training, (P, R) bool: one column per repeat.

    A pair is kept where its image is selected for that repeat. Only images of the train split can be.

    Raises:
        DataError: there is no selection, or it was made from other splits.
    """
    selected = _read(name, repeats)
    keys = list(zip(pairs.dataset.tolist(), pairs.image_id.tolist(), strict=True))
    return np.array([[key in selected[repeat] for repeat in range(repeats)] for key in keys], dtype=bool).reshape(
        len(pairs), repeats
    )


def _read(name: str, repeats: int) -> list[set[tuple[str, str]]]:
    """The selected (dataset, image_id) of each repeat, checked against the splits."""
    path = curation_folder(name) / SELECTED_FILE
    fix = f"Select again with: dvc repro curate@{name}"
    if not path.is_file():
        raise DataError(f"No selection of training images at {path}. Make it with: dvc repro curate@{name}")
    table = read_table(path, ["repeat", "dataset", "image_id"]).to_pydict()
    selected: list[set[tuple[str, str]]] = [set() for _ in range(repeats)]
    for repeat, dataset, image in zip(table["repeat"], table["dataset"], table["image_id"], strict=True):
        if repeat >= repeats:
            raise DataError(f"{path} selects for repeat {repeat}, but splits.repeats is {repeats}. {fix}")
        selected[repeat].add((dataset, image))
    split_of = {(dataset, image): splits for dataset, image, *splits in read_samples(("dataset", "image_id"), repeats)}
    for repeat, images in enumerate(selected):
        elsewhere = sorted(key for key in images if key not in split_of or split_of[key][repeat] != "train")
        if elsewhere:
            found = split_of[elsewhere[0]][repeat] if elsewhere[0] in split_of else "absent"
            raise DataError(
                f"{path} selects {len(elsewhere)} of {len(images)} images for repeat {repeat} that data/splits does "
                f"not put into train, the first {elsewhere[0][1]} of {elsewhere[0][0]} ({found}): it was made from "
                f"other splits. {fix}"
            )
    return selected
