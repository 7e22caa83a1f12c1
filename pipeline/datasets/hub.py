"""Data sets of the Hugging Face hub, or local folders in one of its formats, streamed through `datasets`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import HubSource
from pipeline.config.further import FURTHER
from pipeline.datasets.plain_files import Inside, exists
from pipeline.datasets.raw_files import located
from pipeline.datasets.samples import Failure, Sample, Source, split_named
from pipeline.datasets.table import named_columns, require_columns, sample_of
from pipeline.errors import SourceError


def hub(spec: HubSource) -> Source:
    """The rows of the named splits in their order; pictures and sounds stay encoded, class numbers become names.

    No code of a data set is run: `datasets` no longer supports loading scripts.

    Raises:
        SourceError: `datasets` is not installed, cannot load it, or a column is missing.
    """
    try:
        import datasets
    except ImportError as error:
        raise SourceError("source hub needs a package that is not installed: pip install datasets") from error
    local = located(spec.path)
    if any((local / name).is_file() for name in ("state.json", "dataset_dict.json")):
        raise SourceError(
            f"{local} is what `save_to_disk` of the package datasets writes, which it does not stream. Write it as "
            f"Parquet and use source table: load_from_disk({str(local)!r}).to_parquet('data.parquet'), of a "
            "DatasetDict split by split."
        )
    path, inside = spec.path, None
    if exists(local):
        path, inside = str(local), Inside(local, links=spec.links)
    parts = []
    for split in spec.splits:
        try:
            part = datasets.load_dataset(
                path, spec.name, split=split, streaming=True, revision=spec.revision, trust_remote_code=False
            )
            part = part if part.features is not None else part._resolve_features()
        except Exception as error:  # it raises its own, pyarrow's, the hub's and the network's
            raise SourceError(
                f"`datasets` cannot load {path!r}, split {split!r}: {type(error).__name__}: {error}"
            ) from error
        require_columns(f"{path}, split {split}", list(part.features), named_columns(spec.columns))
        parts.append((split, _undecoded(part)))
    about: dict[str, Any] = {"path": path, "name": spec.name, "revision": spec.revision, "packages": {}}
    samples = _samples(parts, spec)
    return Source(path, samples if inside else map(_in_the_row, samples), about, inside=inside, unit="rows")


def _in_the_row(item: Sample | Failure) -> Sample | Failure:
    """A failure in place of a sample whose row names a file: the hub may not name those of this machine."""
    if isinstance(item, Failure) or all(medium.path is None for medium in item.media):
        return item
    what = "picture" if item.picture is not None and item.picture.path is not None else FURTHER[item.modality].called
    return Failure(item.place or item.key, f"its row names a file and does not hold the bytes of the {what}")


def _undecoded(part: Any) -> Any:
    """The same data set with pictures and sounds as bytes and paths."""
    from datasets import Audio, Image

    for name, feature in part.features.items():
        if isinstance(feature, Image | Audio):
            part = part.cast_column(name, type(feature)(decode=False))
    return part


def _named(value: Any, names: Sequence[str] | None) -> Any:
    """Class numbers as their names; -1 and null, which stand for no label, as null."""
    if names is None:
        return value
    if isinstance(value, list):
        return [_named(entry, names) for entry in value]
    return names[value] if value is not None and value >= 0 else None


def _samples(parts: list[tuple[str, Any]], spec: HubSource) -> Iterator[Sample | Failure]:
    from datasets import ClassLabel

    columns = named_columns(spec.columns)
    wanted = sorted({name for names in columns.values() for name in names})
    for split, part in parts:
        inner = {name: getattr(feature, "feature", feature) for name, feature in part.features.items()}  # of lists
        names = {name: feature.names for name, feature in inner.items() if isinstance(feature, ClassLabel)}
        number = 0
        try:
            for row in part.select_columns(wanted):
                number += 1
                values = {name: _named(value, names.get(name)) for name, value in row.items()}
                yield sample_of(
                    values, columns, f"{split}, row {number}", Path.cwd(), spec.language, split_named(split)
                )
        except Exception as error:  # as above; what was read so far is valid
            yield Failure(f"{split}, row {number + 1}", f"cannot be read from here on: {type(error).__name__}: {error}")
