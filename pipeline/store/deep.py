"""Encodes a sample of the rows of a store again and compares.

A shard that was written with damaged weights under the fingerprint of intact ones has the checksum that it should have;
nothing else finds it.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import EncodeSettings
from pipeline.config.load import Config, load_config
from pipeline.encoders.manifest import read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.encoding.modalities import plan_and_loader
from pipeline.encoding.protocol import RowEncoder
from pipeline.errors import PermafrostError, StoreError
from pipeline.features import FeatureStore
from pipeline.features.dvc_cache import cached_output, stage_of
from pipeline.features.fingerprint import differing_fields
from pipeline.features.objects.pointer import pointed
from pipeline.features.quantised import served_rows
from pipeline.features.ragged import LENGTH
from pipeline.features.scratch import exclusive, scratch_folder
from pipeline.paths import checkpoint_folder, index_folder, store_folder
from pipeline.row_map import RowMap
from pipeline.store.run_dvc import run_dvc

ROWS = 64
# of a token's vector, relative to its length: what batches, threads and other hardware may change
TOLERANCE, OF_INT8, OF_HALF_PRECISION = 4e-3, 1e-2, 5e-2
_COMMAND = "python -m pipeline.store repair --deep"
_CALM = {"workers": 0, "decode": "threads", "compile": False, "channels_last": False}


@dataclass(frozen=True)
class Compared:
    """What encoding again found.

    Attributes:
        rows: how many were compared.
        unreadable: why others of the sample could not be encoded, by id.
        wrong: by id, how far its features are from those encoded again; only those above `tolerance`.
        largest: the largest difference of all rows.
    """

    rows: int
    unreadable: dict[str, str]
    wrong: dict[str, float]
    largest: float
    tolerance: float


def encode_again(folder: Path, rows: int = ROWS) -> Compared:
    """Encode `rows` rows of the store at `folder`, spread evenly over it, with the checkpoint and index that are here.

    Raises:
        StoreError: the store is missing or damaged, not in params.yaml, or of other features than it asks for now.
        CheckpointError: the checkpoint is missing, or is not what its manifest lists.
        DataError: a table of the index is missing or damaged.
    """
    store, settings = FeatureStore.open(folder), _settings(folder, load_config())
    checkpoint = checkpoint_folder(settings.store.encoder)
    index = index_folder(settings.store.group, settings.store.dataset)
    current = fingerprint_of(read_manifest(checkpoint), settings.encoder, settings.view).as_dict()
    if current["digest"] != store.digest:
        raise StoreError(
            f"{folder} holds other features than params.yaml asks for now:\n"
            f"{differing_fields(store.fingerprint, current)}\nBring it up to date with: dvc repro"
        )
    plan, load = plan_and_loader(settings, checkpoint, index)
    valid = store.row_ids[store.valid]
    ids = valid[RowMap(plan.ids).find(valid) >= 0]
    if not len(ids):
        raise StoreError(f"{folder} has no row that its index names, so none can be encoded again. Run: dvc repro")
    sample = ids.take(np.unique(np.linspace(0, len(ids) - 1, min(rows, len(ids))).round().astype(int))).tolist()
    return _compare(store, load(), sample, _tolerance(settings))


def _compare(store: FeatureStore, encoder: RowEncoder, sample: Sequence[str], tolerance: float) -> Compared:
    unreadable, differences = {}, {}
    for identifier in sample:
        for batch in encoder.encode([identifier]):
            reason = batch.reasons[0] if batch.reasons else None
            if reason is not None:
                unreadable[identifier] = reason
                continue
            fresh = served_rows(batch.arrays, encoder.specs)
            differences[identifier] = max(_difference(store, identifier, spec.name, fresh) for spec in encoder.specs)
    wrong = {identifier: value for identifier, value in differences.items() if not value <= tolerance}
    return Compared(len(differences), unreadable, wrong, max(differences.values(), default=0.0), tolerance)


def _difference(store: FeatureStore, identifier: str, name: str, fresh: dict[str, np.ndarray]) -> float:
    """The largest distance of a token's vector from that encoded again, relative to its length; infinite if unlike."""
    if name in store.ragged_names:
        stored, _ = store.ragged(name).take(store.rows([identifier]))
        again = fresh[name]
        if len(stored) != int(fresh[name + LENGTH][0]):
            return float("inf")
    elif name in store.names:
        stored, again = store.read(name, [identifier]), fresh[name]
    else:
        return float("inf")
    if stored.shape != again.shape:
        return float("inf")
    first, second = (values.astype(np.float64).reshape(-1, values.shape[-1]) for values in (stored, again))
    lengths = np.linalg.norm(second, axis=1)
    lengths = np.maximum(lengths, 1e-3 * lengths.mean()) if lengths.any() else np.ones_like(lengths)
    return float(np.max(np.linalg.norm(first - second, axis=1) / lengths, initial=0.0))


def _tolerance(settings: EncodeSettings) -> float:
    half = settings.encoder.dtype != "float32" or settings.encoder.autocast is not None
    return OF_HALF_PRECISION if half else OF_INT8 if settings.view.dtype == "int8" else TOLERANCE


def _settings(folder: Path, config: Config) -> EncodeSettings:
    """What the stage that writes the store reads, with a batch and threads that need no trials."""
    for name, one in config.params.stores.by_name().items():
        if store_folder(one.group, one.view, one.dataset) == folder:
            settings: Any = config.settings("encode", name)
            calm: dict[str, Any] = dict(_CALM)
            calm |= {key: 1 for key in ("batch_size", "text_batch_size") if getattr(settings.encode, key) == "auto"}
            found: EncodeSettings = settings.model_copy(update={"encode": settings.encode.model_copy(update=calm)})
            return found
    raise StoreError(
        f"No entry of `stores` in params.yaml writes {folder}, so its rows cannot be encoded again. Run this at the "
        "root of the project, with the path as it is listed by: python -m pipeline.store ls"
    )


def encode_all_again(folder: Path, rows: int = ROWS) -> Compared:
    """Write a store with wrong rows again, all of it: what shares its fingerprint in scratch is not trusted either.

    Returns:
        What `encode_again` finds afterwards.

    Raises:
        StoreError: no stage of dvc.lock writes the store, another process writes these features, the stage fails, or
            rows are still wrong.
    """
    stage = stage_of(folder)
    if stage is None:
        raise StoreError(f"No stage in dvc.lock writes {folder}. Nothing was changed; run: dvc repro")
    if (url := pointed(folder)) is not None:
        raise StoreError(
            f"{folder} stands for the published store {url}, which its stage would take again. Nothing was changed. "
            "Take `url` out of params.yaml, run: dvc repro; then: python -m pipeline.store push STORE ADDRESS --replace"
        )
    scratch = scratch_folder(FeatureStore.open(folder).digest)
    with exclusive(scratch):
        for shard in (path for path in scratch.iterdir() if path.is_dir()):
            shutil.rmtree(shard)
        if cached := cached_output(stage, folder):
            for entry in (*cached.files.values(), cached.listing):
                entry.path.unlink(missing_ok=True)
    run_dvc("repro", "--force", "--single-item", stage)
    done = encode_again(folder, rows)
    if done.wrong:
        raise StoreError(
            f"{folder} was encoded again, and {len(done.wrong)} of {done.rows} rows are other ones each time (by up to "
            f"{done.largest:.2g}). Is the memory of this machine failing?"
        )
    return done


def verify_deep(folders: Iterable[Path], rows: int) -> int:
    """Print what encoding again finds of each store; returns how many are wrong or could not be compared."""
    bad = 0
    for folder, done in _each_again(folders, rows):
        if done is None:
            bad += 1
            continue
        bad += bool(done.wrong or not done.rows)
        print(f"{folder}: {_said(done)}")
        for identifier, value in list(done.wrong.items())[:5]:
            print(f"    {identifier!r} differs by {value:.2g}")
        for identifier, reason in list(done.unreadable.items())[:5]:
            print(f"    {identifier!r} could not be encoded again: {reason}")
        if done.wrong:
            print(f"    Its files are what was written, but that is wrong. Encode it again with: {_COMMAND} {folder}")
    return bad


def repair_deep(folders: Iterable[Path], rows: int) -> int:
    """Encode again the stores with wrong rows, and print it; returns 1 if some could not be compared, else 0."""
    bad = 0
    for folder, done in _each_again(folders, rows):
        if done is None:
            bad += 1
            continue
        if not done.wrong:
            bad += not done.rows
            print(f"{folder}: {_said(done)}")
            continue
        print(f"{folder}: {_said(done)}; all of it is encoded again")
        print(f"{folder}: now {_said(encode_all_again(folder, rows))}")
    return int(bad > 0)


def _each_again(folders: Iterable[Path], rows: int) -> Iterator[tuple[Path, Compared | None]]:
    """What encoding again finds of each store; None where it cannot be done, which is printed with its reason."""
    for folder in folders:
        try:
            yield folder, encode_again(folder, rows)
        except PermafrostError as error:
            print(f"{folder}: cannot be encoded again\n    {error}")
            yield folder, None


def _said(done: Compared) -> str:
    within = f"{done.rows - len(done.wrong)} of {done.rows} rows are within {done.tolerance:g} of those encoded again"
    return f"{within}, the largest difference is {done.largest:.2g}"
