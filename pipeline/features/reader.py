"""Reads a feature store by id."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StoreError
from pipeline.features.array import FeatureArray
from pipeline.features.by_id import RowsById
from pipeline.features.fingerprint import require_fingerprint, require_format, require_same
from pipeline.features.identity import FileIdentity, file_identity, replaced
from pipeline.features.manifest import checksum, read_manifest
from pipeline.features.objects.array import RemoteArray
from pipeline.features.objects.pointer import fetched
from pipeline.features.objects.shards import RemoteShards
from pipeline.features.quantised import QuantisedArray, served_names
from pipeline.features.ragged import LENGTH, RaggedArray
from pipeline.features.shards import SCALE
from pipeline.ids import Ids
from pipeline.object_url import is_object_url
from pipeline.parquet import parquet_pieces
from pipeline.user_path import user_path

ROWS_FILE = "rows.parquet"
_METADATA = "zarr.json"
_PIECE = 1 << 16  # rows of the list that are read together
_ATTEMPTS = 5  # to open a store that is replaced at the same time


class FeatureStore(RowsById):
    """A feature store, opened for reading; one on an object store through a cache on this machine.

    Everything that it serves comes from the store that was opened, also after another one has taken its folder. It can
    be sent to other processes of this machine, which open it again and refuse another store.

    int8 arrays are served as float16; for the attributes see `RowsById`. `remote` has the shards of a store that lies
    on an object store, and is None for any other.
    """

    def __init__(self, folder: Path, attributes: dict[str, Any], opened: FileIdentity | None = None) -> None:
        self.folder = folder
        self._opened = opened or file_identity(folder / _METADATA)
        self.attributes = attributes
        self.fingerprint: dict[str, Any] = attributes["fingerprint"]
        self.ragged_names: tuple[str, ...] = served_names(attributes.get("ragged", []))
        self.names: tuple[str, ...] = tuple(
            name for name in served_names(attributes["arrays"]) if name not in self.ragged_names
        )
        self.row_ids, self.valid, self.reasons = read_rows(folder / ROWS_FILE)
        self._arrays: dict[str, FeatureArray | RemoteArray | QuantisedArray] = {}
        self._ragged: dict[str, RaggedArray] = {}
        self.remote = RemoteShards.of(folder)

    @classmethod
    def open(cls, folder: str | Path, expect: dict[str, Any] | None = None) -> "FeatureStore":
        """Open the store at `folder`.

        Args:
            folder: or an address, s3://bucket/prefix, gs://... or az://...: its metadata is fetched, and shards once
                their rows are read (docs/object_stores.md).
            expect: a fingerprint (`Fingerprint.as_dict`) that the store must have.

        Raises:
            StoreError: there is no finished store, it is damaged or of another format, or `expect` is no fingerprint.
            FingerprintMismatch: it holds other features; the message lists the differing fields. Of a remote store no
                ids and no shard have been read by then.
            RemoteError: the object store cannot be reached or refuses.
        """
        if expect is not None:
            require_fingerprint(expect)
        remote = isinstance(folder, (str, Path)) and is_object_url(folder)
        folder = fetched(folder, expect) if remote else user_path(folder, "the folder of a feature store", StoreError)
        for _ in range(_ATTEMPTS):
            seen = file_identity(folder / _METADATA)
            try:
                store = cls._open(folder, seen)
            except (StoreError, OSError):
                if file_identity(folder / _METADATA) == seen:
                    raise
                continue
            if not store._moved():
                break
        else:
            raise StoreError(f"{folder} was replaced {_ATTEMPTS} times while it was opened. Wait until it is finished.")
        if expect is not None:
            require_same(store.fingerprint, expect, store.source)
        return store

    @classmethod
    def _open(cls, folder: Path, seen: FileIdentity | None) -> "FeatureStore":
        metadata = folder / _METADATA
        if not metadata.is_file() or not (folder / ROWS_FILE).is_file():
            raise StoreError(f"No feature store at {folder}. Encode it with: dvc repro")
        _require_intact_metadata(folder)
        try:
            attributes = json.loads(metadata.read_text(encoding="utf-8"))["attributes"]
            require_format(attributes["fingerprint"], str(folder))
            store = cls(folder, attributes, seen)
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise StoreError(
                f"{folder} is not a feature store of this project ({type(error).__name__}: {error}). "
                "Remove the folder and run: dvc repro"
            ) from error
        for name in store.names:
            if store.array(name).shape[0] != len(store):
                raise StoreError(
                    f"{folder}/{name} has {store.array(name).shape[0]} rows for {len(store)} ids. "
                    "Remove the folder and run: dvc repro"
                )
        return store

    def __reduce__(self) -> tuple[Callable[..., "FeatureStore"], tuple[object, ...]]:
        return _reopened, (self.folder.absolute(), self.attributes)

    def __deepcopy__(self, memo: dict[int, Any]) -> "FeatureStore":
        return self  # it is never written

    @property
    def opened(self) -> tuple[Path, FileIdentity | None]:
        """Which store was opened: its folder, and what tells it from another one there (see `file_identity`)."""
        return self.folder.absolute(), self._opened

    @property
    def source(self) -> str:
        """See `RowsById`."""
        return str(self.folder) if self.remote is None else self.remote.url

    def _moved(self) -> bool:
        return file_identity(self.folder / _METADATA) != self._opened

    def array(self, name: str) -> FeatureArray | RemoteArray | QuantisedArray:
        """One array by name, as it is served.

        Raises:
            StoreError: the store does not hold it; the message lists what it holds.
        """
        if name not in self.names:
            raise StoreError(
                f"{self.source} holds {', '.join(self.names)}, not {name!r}. "
                "Change `tier` of the view in params.yaml and run: dvc repro"
            )
        if name not in self._arrays:
            self._arrays[name] = self._served(name, name + SCALE)
        return self._arrays[name]

    def ragged(self, name: str) -> RaggedArray:
        """One array with a varying number of tokens per sample.

        Raises:
            StoreError: the store does not hold it, its numbers of tokens do not fit its shards, or it was replaced
                since it was opened.
        """
        if name not in self.ragged_names:
            raise StoreError(
                f"{self.folder} holds {', '.join([*self.names, *self.ragged_names])}, no ragged {name!r}. "
                "Set `tier: full` of the view of texts in params.yaml and run: dvc repro"
            )
        if name not in self._ragged:
            if self._moved():
                raise replaced(self.folder)
            lengths = self._stored(name + LENGTH)
            shards = [self._served(f"{name}/{k}", f"{name}{SCALE}/{k}") for k in range(len(self.attributes["shards"]))]
            whole = lengths.read_range(0, len(lengths))
            if int(whole.sum()) != sum(len(shard) for shard in shards):
                raise StoreError(
                    f"{self.folder}/{name} holds {sum(len(shard) for shard in shards)} tokens, its rows should have "
                    f"{int(whole.sum())}. Repair the store with: python -m pipeline.store repair {self.folder}"
                )
            if self._moved():  # these arrays are opened late
                raise replaced(self.folder)
            self._ragged[name] = RaggedArray(whole, shards)
        return self._ragged[name]

    def _served(self, name: str, scales: str) -> FeatureArray | RemoteArray | QuantisedArray:
        stored = self._stored(name)
        return stored if stored.dtype != np.int8 else QuantisedArray(stored, self._stored(scales))

    def _stored(self, name: str) -> FeatureArray | RemoteArray:
        if self.remote is None:
            return FeatureArray(self.folder, name)
        return RemoteArray(self.folder, name, self.remote)


def read_rows(path: Path) -> tuple[Ids, np.ndarray, dict[str, str]]:
    """Of the row list of a store: its ids, which rows (N,) bool are valid, and by id why others are not."""
    ids, valid = [], [np.empty(0, dtype=bool)]
    reasons: dict[str, str] = {}
    for piece in parquet_pieces(path, ["id", "reason"], _PIECE):
        ids.append(Ids.of(piece.column("id")))
        valid.append(piece.column("reason").is_null().to_numpy())
        failed = piece.filter(piece.column("reason").is_valid())
        reasons.update(zip(failed.column("id").to_pylist(), failed.column("reason").to_pylist(), strict=True))
    return Ids.joined(ids), np.concatenate(valid), reasons


def _reopened(folder: Path, attributes: dict[str, Any]) -> FeatureStore:
    """The same store in another process; its attributes hold the checksum of every shard."""
    store = FeatureStore.open(folder)
    if store.attributes != attributes:
        raise replaced(folder)
    return store


def _require_intact_metadata(folder: Path) -> None:
    """Compare the small files of a store with its manifest; shards are checked by `verify`.

    Raises:
        StoreError: one of them, or the manifest itself, is damaged.
    """
    manifest = read_manifest(folder)
    for name, record in ({} if manifest is None else manifest.files).items():
        if record.shard is None and not ((folder / name).is_file() and checksum(folder / name) == record.xxh3_128):
            raise StoreError(
                f"{folder / name} differs from what was written. "
                f"Repair the store with: python -m pipeline.store repair {folder}"
            )
