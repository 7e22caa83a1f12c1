"""Damage to any file of a store is found and named."""

import json
from pathlib import Path

import numpy as np
import pytest
import xxhash

from pipeline.errors import NewerStore, StoreError
from pipeline.features import FeatureStore
from pipeline.features.manifest import MANIFEST, SCHEMA, checksum, read_manifest
from pipeline.features.sealed import seal, unseal
from pipeline.features.verify import Damage, verify
from tests.features.stores import flip, normal, write_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path, {"cls": normal(40, 2, 5), "grid": normal(40, 4, 5)}, 16, failed=(3,))


def files(store: Path) -> list[Path]:
    return sorted(path for path in store.rglob("*") if path.is_file())


def test_an_intact_store(store: Path) -> None:
    found = verify(store)
    assert found.intact
    assert found.summed
    assert found.files == len(files(store)) - 1
    manifest = read_manifest(store)
    assert manifest is not None
    assert {str(store / name) for name in manifest.files} | {str(store / MANIFEST)} == set(map(str, files(store)))
    assert all(checksum(store / name) == record.xxh3_128 for name, record in manifest.files.items())


def test_every_flipped_bit_is_found_and_named(store: Path) -> None:
    generator = np.random.default_rng(0)
    for path in [*files(store), *generator.choice(np.array(files(store)), 60)]:
        byte, bit = int(generator.integers(path.stat().st_size)), int(generator.integers(8))
        flip(path, byte, bit)
        damages = verify(store).damages
        assert [damage.path for damage in damages] == [path.relative_to(store).as_posix()], (path, byte, bit)
        assert damages[0].kind == "changed"
        flip(path, byte, bit)
    assert verify(store).intact


def test_a_shard_is_named_by_its_rows(store: Path) -> None:
    flip(store / "grid" / "c" / "2" / "0" / "0", 7, 1)
    assert verify(store).damages == (Damage("grid/c/2/0/0", "changed", 2, (32, 40), ("id32", "id39")),)
    assert str(verify(store).damages[0]) == "grid/c/2/0/0: changed (shard 2, rows 32 to 39), 8 ids: id32 to id39"


@pytest.mark.parametrize("manifest", [True, False])
def test_a_damaged_row_index_names_no_ids(store: Path, manifest: bool) -> None:
    flip(store / "grid" / "c" / "2" / "0" / "0", 7, 1)
    if manifest:
        flip(store / "rows.parquet", 40, 1)
    else:
        (store / MANIFEST).unlink()
        (store / "rows.parquet").write_bytes(b"PAR1")
    assert Damage("grid/c/2/0/0", "changed", 2, (32, 40)) in verify(store).damages


def test_a_newer_manifest_is_not_called_damaged(store: Path) -> None:
    content = unseal((store / MANIFEST).read_bytes())
    (store / MANIFEST).write_bytes(seal({**content, "schema": SCHEMA + 1, "signed_by": "a later version"}))
    for use in (FeatureStore.open, verify, read_manifest):
        with pytest.raises(NewerStore, match=f"of schema {SCHEMA + 1}.* written by a newer Permafrost: update yours"):
            use(store)
    damaged = (store / MANIFEST).read_bytes().replace(b"a later", b"a Later")
    (store / MANIFEST).write_bytes(damaged)
    with pytest.raises(StoreError, match="is damaged"):
        read_manifest(store)


def test_the_bytes_of_a_manifest_are_those_of_earlier_versions(store: Path) -> None:
    content = json.loads((store / MANIFEST).read_bytes())["content"]
    own = xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True).encode())
    expected = json.dumps({"content": content, "xxh3_128": own}, sort_keys=True, indent=1).encode() + b"\n"
    assert (store / MANIFEST).read_bytes() == expected


def test_missing_cut_and_foreign_files(store: Path) -> None:
    (store / "cls" / "c" / "0" / "0" / "0").unlink()
    cut = store / "valid" / "c" / "1"
    cut.write_bytes(cut.read_bytes()[:-1])
    (store / "grid" / "notes.txt").write_text("mine")
    assert [(damage.path, damage.kind) for damage in verify(store).damages] == [
        ("cls/c/0/0/0", "missing"),
        ("grid/notes.txt", "foreign"),
        ("valid/c/1", "changed"),
    ]


@pytest.mark.parametrize("name", ["zarr.json", "cls/zarr.json", "rows.parquet", MANIFEST])
def test_damaged_metadata_is_not_opened(store: Path, name: str) -> None:
    flip(store / name, (store / name).stat().st_size // 2, 2)
    with pytest.raises(StoreError, match=r"python -m pipeline\.store repair"):
        FeatureStore.open(store)


def test_a_store_from_before_manifests(store: Path) -> None:
    (store / MANIFEST).unlink()
    assert len(FeatureStore.open(store)) == 40
    found = verify(store)
    assert found.intact
    assert not found.summed
    flip(store / "cls" / "c" / "1" / "0" / "0", 0, 0)
    assert verify(store).damages == (Damage("cls/c/1/0/0", "changed", 1, (16, 32), ("id16", "id31")),)


def test_what_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No feature store at"):
        verify(tmp_path / "nothing")
    (tmp_path / "zarr.json").write_text(json.dumps({"attributes": {}}))
    with pytest.raises(StoreError, match="Neither the manifest nor the attributes"):
        verify(tmp_path)
