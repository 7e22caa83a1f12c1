"""The small project of the tests of `Aligner`, explored."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.explorer.project import Project as Explored
from tests.inference.conftest import WORDS, Project, project  # noqa: F401  (a fixture)


@pytest.fixture(scope="package")
def root(project: Project) -> Path:  # noqa: F811
    """Its folder, with splits and a curation of the first half."""
    data = project.root / "data"
    ids = project.store("grid").ids.tolist()
    splits = ["test" if row % 3 == 0 else "train" for row in range(len(ids))]
    (data / "splits").mkdir()
    samples = {"dataset": ["mine"] * len(ids), "image_id": ids, "family": list(WORDS), "split_0": splits}
    pq.write_table(pa.table(samples), data / "splits/samples.parquet")
    (data / "curation/half").mkdir(parents=True)
    chosen = {"dataset": ["mine"] * 5, "image_id": ids[:5], "repeat": [0] * 5}
    pq.write_table(pa.table(chosen), data / "curation/half/selected.parquet")
    return project.root


@pytest.fixture(scope="package")
def explored(root: Path) -> Explored:
    return Explored(root)
