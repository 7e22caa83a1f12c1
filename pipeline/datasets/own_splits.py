"""A picture or sound that a data set has in several of its own splits is in one of them, and never tested."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.config.further import FURTHER
from pipeline.datasets.samples import SPLITS
from pipeline.datasets.tables import write_table


@dataclass(frozen=True)
class Medium:
    """A modality in an index: what it is called, the column of its ids, and its tables."""

    name: str
    column: str
    rows: str
    labels: str
    pairs: str


PICTURES = Medium("picture", "image_id", "images", "labels", "pairs")
FURTHER_MEDIA = {
    name: Medium(one.called, f"{name}_id", name, f"{name}_labels", f"{name}_pairs") for name, one in FURTHER.items()
}


def settle_splits(folder: Path, medium: Medium = PICTURES) -> Iterator[tuple[str, str]]:
    """Give every picture or sound one split, and each of its concepts one row; yields key and what was done.

    One that is in several splits is in the first of train, validation and test that it has: what a model may have seen
    is not tested, whatever the order in which the source names it. The table is read whole.
    """
    path, column = folder / f"{medium.labels}.parquet", medium.column
    labels = pq.read_table(path)
    splits = labels.group_by(column, use_threads=False).aggregate(
        [("split", "count_distinct", pc.CountOptions(mode="all"))]
    )
    several = splits.filter(pc.greater(splits["split_count_distinct"], 1))[column]
    rows = np.flatnonzero(pc.is_in(labels[column], several.combine_chunks()).to_numpy(zero_copy_only=False))
    named: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    keep = np.ones(len(labels), dtype=bool)
    chosen = labels.take(pa.array(rows)).to_pylist()
    for place, row in zip(rows, chosen, strict=True):
        named.setdefault(row[column], set()).update([row["split"]] if row["split"] else [])
        keep[place] = (row[column], row["concept"]) not in seen
        seen.add((row[column], row["concept"]))
    written = labels["split"].to_numpy(zero_copy_only=False).astype(object)
    for place, row in zip(rows, chosen, strict=True):
        written[place] = min(named[row[column]], key=SPLITS.index)
    at = labels.schema.get_field_index("split")
    settled = labels.set_column(at, labels.schema.field(at), pa.array(written, pa.string())).filter(pa.array(keep))
    write_table(settled, path)
    del labels, settled
    images = pq.read_table(folder / f"{medium.rows}.parquet", columns=[column, "key"])
    shown = images.filter(pc.is_in(images[column], pa.array(list(named), pa.string()))).to_pylist()
    for row in shown:
        found = sorted(named[row[column]], key=SPLITS.index)
        if len(found) > 1:  # else it is also named without a split, which is no contradiction
            yield row["key"], f"the same {medium.name} is in {' and '.join(found)}: it counts as {found[0]} alone"
