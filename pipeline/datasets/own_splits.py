"""A picture that a data set has in several of its own splits is in one of them, and never tested."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.datasets.samples import SPLITS
from pipeline.datasets.tables import write_table


def settle_splits(folder: Path) -> Iterator[tuple[str, str]]:
    """Give every picture of labels.parquet one split, and each of its concepts one row; yields key and what was done.

    A picture in several splits is in the first of train, validation and test that it has: what a model may have seen is
    not tested, whatever the order in which the source names it. The table is read whole.
    """
    labels = pq.read_table(folder / "labels.parquet")
    splits = labels.group_by("image_id", use_threads=False).aggregate(
        [("split", "count_distinct", pc.CountOptions(mode="all"))]
    )
    several = splits.filter(pc.greater(splits["split_count_distinct"], 1))["image_id"]
    rows = np.flatnonzero(pc.is_in(labels["image_id"], several.combine_chunks()).to_numpy(zero_copy_only=False))
    named: dict[str, set[str]] = {}
    seen: set[tuple[str, str]] = set()
    keep = np.ones(len(labels), dtype=bool)
    chosen = labels.take(pa.array(rows)).to_pylist()
    for place, row in zip(rows, chosen, strict=True):
        named.setdefault(row["image_id"], set()).update([row["split"]] if row["split"] else [])
        keep[place] = (row["image_id"], row["concept"]) not in seen
        seen.add((row["image_id"], row["concept"]))
    written = labels["split"].to_numpy(zero_copy_only=False).astype(object)
    for place, row in zip(rows, chosen, strict=True):
        written[place] = min(named[row["image_id"]], key=SPLITS.index)
    at = labels.schema.get_field_index("split")
    settled = labels.set_column(at, labels.schema.field(at), pa.array(written, pa.string())).filter(pa.array(keep))
    write_table(settled, folder / "labels.parquet")
    del labels, settled
    images = pq.read_table(folder / "images.parquet", columns=["image_id", "key"])
    shown = images.filter(pc.is_in(images["image_id"], pa.array(list(named), pa.string()))).to_pylist()
    for row in shown:
        found = sorted(named[row["image_id"]], key=SPLITS.index)
        if len(found) > 1:  # else it is also named without a split, which is no contradiction
            yield row["key"], f"the same picture is in {' and '.join(found)}: it counts as {found[0]} alone"
