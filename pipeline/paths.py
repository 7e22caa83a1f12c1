"""Where each artefact of the DAG lives, relative to the root of the project.

`group` says what is in a folder: `pairs` the data sets of params.yaml, `scenes` what was composed of cut-outs,
`prompts` class names in templates. The directories of a view come before those of its data sets, so that one DVC
dependency covers a view in all of them.
"""

from pathlib import Path

DATA = Path("data")
LISTINGS = DATA / "listing"
WORK_VARIABLE = "PERMAFROST_WORK"  # names another folder for scratch, downloads and journals


def index_folder(group: str, dataset: str) -> Path:
    """Tables of one data set: images, texts, pairs, labels."""
    return DATA / "index" / group / dataset


def listing_file(dataset: str) -> Path:
    """Digest of paths, sizes and times of a data set's raw files; null where they are not on this machine."""
    return LISTINGS / f"{dataset}.json"


def checkpoint_folder(encoder: str) -> Path:
    """A local checkpoint in the format of its own library, beside `permafrost.json`."""
    return DATA / "checkpoints" / encoder


def store_folder(group: str, view: str, dataset: str) -> Path:
    """The feature store of one view of one data set (a Zarr v3 group)."""
    return DATA / "features" / group / view / dataset


def curation_folder(name: str) -> Path:
    """Which training images an aligner sees: selected.parquet, coverage.json, coverage.csv."""
    return DATA / "curation" / name


def encode_stage(group: str, store: str) -> str:
    """The DVC stage that encodes a store."""
    return f"encode@{store}" if group == "pairs" else f"encode_{group}@{store}"


def train_stage(aligner: str, compare: str | None, fused: bool = False, added: bool = False) -> str:
    """The DVC stage that fits an aligner; `compare` is the comparison that chooses its views, if one does.

    Args:
        fused: whether a view of it joins several.
        added: whether it is a further modality in the space of another aligner.
    """
    kind = "_added" if added else "_auto" if compare is not None else "_fused" * fused
    return f"train{kind}@{aligner}"


CONCEPTS = Path("concepts")  # lists of names that curations search for, one a line
SETTINGS = DATA / "settings"
SPLITS = DATA / "splits"
COMPARE = DATA / "compare"
TOY = DATA / "toy"
PREDICTORS = DATA / "predictors"
MODELS = DATA / "models"
DENSE_HEADS = DATA / "dense"
RESULTS = DATA / "results"
ACCOUNTING = DATA / "accounting"
REPORT = DATA / "report"
HEADLINE = DATA / "headline.json"  # what `dvc metrics show` prints
HEADLINE_PLOT = DATA / "headline.csv"
FOLDERS = (
    DATA / "checkpoints",
    *(DATA / "index" / group for group in ("pairs", "scenes", "prompts")),
    DATA / "features" / "pairs",
    DATA / "features" / "prompts",
    DATA / "curation" / "none",  # of aligners that are fitted to nothing
    MODELS / "none",  # of curations that look through no aligner
    CONCEPTS,
    COMPARE,
    TOY,
    PREDICTORS,
    MODELS,
    DENSE_HEADS,
    RESULTS,
)  # that some stage depends on as a whole
