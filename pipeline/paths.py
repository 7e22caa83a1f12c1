"""Where each artefact of the DAG lives, relative to the root of the project.

`group` says what a data set is for: `pairs` may be trained on, `prompts` holds class names in templates. The
directories of a view come before those of its data sets, so that one DVC dependency covers a view in all of them.
"""

from pathlib import Path

DATA = Path("data")


def index_folder(group: str, dataset: str) -> Path:
    """Tables of one data set: images, texts, pairs, labels."""
    return DATA / "index" / group / dataset


def checkpoint_folder(encoder: str) -> Path:
    """A local checkpoint in the format of its own library, beside `permafrost.json`."""
    return DATA / "checkpoints" / encoder


def store_folder(group: str, view: str, dataset: str) -> Path:
    """The feature store of one view of one data set (a Zarr v3 group)."""
    return DATA / "features" / group / view / dataset


SPLITS = DATA / "splits"
MODELS = DATA / "models"
RESULTS = DATA / "results"
