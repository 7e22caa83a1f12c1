"""Training curves as CSV, a line per record as it is made, which `dvc plots` can draw during training."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from pipeline.alignment.training.records import EpochRecord
from pipeline.files import plain_cell


class Write(Protocol):
    """Writes a record."""

    def __call__(self, record: EpochRecord, **more: Any) -> None:
        """Append a line: `more` first, then the record."""


@contextmanager
def curves(path: Path) -> Iterator[Write]:
    """A CSV file whose columns are those of its first line."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer: csv.DictWriter[str] | None = None

        def write(record: EpochRecord, **more: Any) -> None:
            nonlocal writer
            row = more | record.row()
            if writer is None:
                writer = csv.DictWriter(file, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow({key: plain_cell(value) for key, value in row.items()})
            file.flush()

        yield write
