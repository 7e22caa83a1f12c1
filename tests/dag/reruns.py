"""What a re-run of the small DAG did: the stages that ran, and the rows that went through a backbone."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.dag.project import Project

TASKS = ("retrieval", "classification", "multilingual", "segmentation", "long_text")
LEAVES = {"accounting", "report"}
SCORES = "evaluate@retrieval"  # where all tasks would run, one may stand for them: they come from one template
EVALUATION = {f"evaluate@{task}" for task in TASKS} | LEAVES
TRAINING = {"train@default", "train@control", "train@curated"}
DOWNSTREAM = TRAINING | EVALUATION
COMPUTED = {"train@default", "train@control"}
STUDIES = {"compare@mine", "toy@mine", "predictors@mine"}
ENDS = (SCORES, *sorted(STUDIES))  # all but the other tasks and what gathers their results lies before these
CURATION = {"curate@all", "curate@balanced"}


@contextmanager
def edited(project: Project, path: str, value: object) -> Iterator[None]:
    """The parameter is `value` inside the block and what it was after it."""
    before = (project.folder / "params.yaml").read_text()
    project.edit(path, value)
    try:
        yield
    finally:
        (project.folder / "params.yaml").write_text(before)


def rerun(project: Project, *targets: str) -> tuple[set[str], Counter[str]]:
    """Stages whose command ran (those restored from DVC's cache did not), and rows per store through a backbone."""
    mark = len(project.journal())
    return project.repro(*targets), project.passes(mark)


def first_rows(project: Project) -> dict[str, int]:
    """Rows per store that went through a backbone in the project's first run."""
    return {line["store"]: line["encoded"] for line in project.journal()[: len(stores_of(project))]}


def stores_of(project: Project) -> list[str]:
    """The names of all stores."""
    return [name for stores in project.params()["stores"].values() for name in stores]
