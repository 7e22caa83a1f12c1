"""`python -m pipeline.store` on addresses: what is damaged is named, and sent again from where its bytes still are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest

from pipeline.commands.parser import main as permafrost
from pipeline.errors import StoreError
from pipeline.features import FeatureStore
from pipeline.features.manifest import MANIFEST
from pipeline.features.objects.cache import FOLDER_VARIABLE
from pipeline.features.objects.check import verify_anywhere
from pipeline.features.objects.pointer import POINTER, point
from pipeline.features.scratch import scratch_folder
from pipeline.store.__main__ import main
from tests.features.stores import FINGERPRINT, normal, write_store
from tests.objects.conftest import client
from tests.objects.faulty import Faulty

VALUES = normal(64, 8)
SHARD = "cls/c/2/0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_store(tmp_path, {"cls": VALUES}, 16)


@pytest.fixture
def url(address: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A store that was pushed."""
    assert main(["push", str(folder), f"{address}/a/emoji"]) == 0
    assert f"{address}/a/emoji: published, " in capsys.readouterr().out
    return f"{address}/a/emoji"


Spoil = Callable[[str], None]


@pytest.fixture
def spoil(address: str, faulty: Faulty) -> Spoil:
    """Change a bit of an object, its size and its noted checksum staying as they were."""

    def spoil(name: str) -> None:
        store = client(faulty, address)
        got = obstore.get(store, f"a/emoji/{name}")
        attributes, content = got.attributes, bytearray(got.bytes())
        content[len(content) // 2] ^= 4
        obstore.put(store, f"a/emoji/{name}", bytes(content), attributes=attributes)

    return spoil


def test_verify_names_what_is_damaged_with_its_ids(
    url: str, address: str, faulty: Faulty, spoil: Spoil, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", url]) == 0
    assert f"{url}: intact" in capsys.readouterr().out
    spoil(SHARD)
    obstore.delete(client(faulty, address), "a/emoji/valid/c/1")
    obstore.put(client(faulty, address), "a/emoji/notes.txt", b"mine")
    assert main(["verify", url]) == 1
    out = capsys.readouterr().out
    assert "cls/c/2/0: changed (shard 2, rows 32 to 47), 16 ids: id32 to id47" in out
    assert "valid/c/1: missing (shard 1, rows 16 to 31)" in out
    assert "notes.txt: foreign" in out
    assert permafrost(["verify", "--json", url]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["stores"][0]["store"] == url
    assert len(answer["stores"][0]["damages"]) == 3


def test_repair_sends_again_from_a_folder(
    url: str, address: str, faulty: Faulty, spoil: Spoil, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repair", url]) == 0
    assert f"{url}: intact" in capsys.readouterr().out
    for name in (SHARD, "rows.parquet", "zarr.json"):
        spoil(name)
    obstore.delete(client(faulty, address), f"a/emoji/{MANIFEST}")
    assert main(["repair", url]) == 1
    assert "no manifest that can be read" in capsys.readouterr().err
    assert main(["repair", url, "--source", str(folder)]) == 0
    assert "repaired; 4 objects sent again" in capsys.readouterr().out
    assert verify_anywhere(url).intact


def test_repair_finds_the_bytes_in_the_cache_and_in_scratch(
    url: str, spoil: Spoil, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FeatureStore.open(url).array("cls").read_range(32, 48)
    spoil(SHARD)
    assert main(["repair", url]) == 0  # from the cache
    assert verify_anywhere(url).intact
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "empty"))
    spoil(SHARD)
    scratch = scratch_folder(FINGERPRINT.digest)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder.parent / "scratch", scratch)
    assert main(["repair", url]) == 0
    assert verify_anywhere(url).intact


def test_repair_says_what_it_cannot_find_and_sends_the_rest(
    url: str, spoil: Spoil, capsys: pytest.CaptureFixture[str]
) -> None:
    FeatureStore.open(url).array("cls").read_range(0, 16)
    spoil("cls/c/3/0")  # which has not been read, nor ahead
    spoil("cls/c/0/0")
    assert main(["repair", url]) == 1
    error = capsys.readouterr().err
    assert "1 of 2 damaged objects are found nowhere here, the first cls/c/3/0; 1 were sent again" in error
    assert "--source STORE" in error
    assert [damage.path for damage in verify_anywhere(url).damages] == ["cls/c/3/0"]


def test_repair_refuses_another_store_as_its_source(
    url: str, spoil: Spoil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    other = write_store(tmp_path / "other", {"cls": normal(64, 8, seed=3)}, 16)
    spoil(SHARD)
    assert main(["repair", url, "--source", str(other)]) == 1
    assert "is another store than" in capsys.readouterr().err


def test_ls_tells_of_an_address_what_it_tells_of_a_folder(
    url: str, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["ls", url]) == 0
    out = capsys.readouterr().out
    assert f"{url}  " in out
    assert "64 rows (0 failed) in 4 shards" in out
    point(tmp_path / "here", url)
    assert main(["ls", str(tmp_path / "here")]) == 0
    assert f"at {url}" in capsys.readouterr().out
    assert permafrost(["verify", str(tmp_path / "here"), "--json"]) == 0
    shutil.rmtree(folder)


def test_a_folder_that_stands_for_an_address_is_verified_on_both_sides(
    url: str, spoil: Spoil, faulty: Faulty, address: str, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    point(here, url)
    assert verify_anywhere(here).intact
    spoil(SHARD)
    (here / "rows.parquet").write_bytes(b"spoilt")
    assert [damage.path for damage in verify_anywhere(here).damages] == ["rows.parquet", f"{url}/{SHARD}"]
    obstore.delete(client(faulty, address), f"a/emoji/{MANIFEST}")
    with pytest.raises(StoreError, match="No feature store"):
        verify_anywhere(here)


def test_a_folder_whose_pointer_is_damaged_is_not_taken_for_a_local_store(url: str, tmp_path: Path) -> None:
    point(tmp_path / "here", url)
    (tmp_path / "here" / POINTER).write_bytes(b"{}")
    for look in (FeatureStore.open, verify_anywhere):
        with pytest.raises(StoreError, match=r"remote\.json is damaged. Write it again with: dvc repro --force"):
            look(tmp_path / "here")


def test_push_replaces_only_when_it_is_told_to(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other").mkdir()
    other = write_store(tmp_path / "other", {"cls": normal(64, 8, seed=3)}, 16)
    assert main(["push", str(other), url]) == 1
    assert "--replace" in capsys.readouterr().err
    assert main(["push", str(other), url, "--replace"]) == 0
    np.testing.assert_array_equal(FeatureStore.open(url).array("cls").read_range(0, 64), normal(64, 8, seed=3))


def test_push_of_what_stands_for_an_address_is_refused(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    point(tmp_path / "here", url)
    assert main(["push", str(tmp_path / "here"), f"{url}-2"]) == 1
    assert f"stands for the store at {url}" in capsys.readouterr().err


def test_nothing_of_an_address_is_asked_of_a_local_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("obstore was asked for")

    monkeypatch.setattr("pipeline.features.objects.bucket._obstore", refuse)
    np.testing.assert_array_equal(FeatureStore.open(folder).array("cls").read_range(0, 64), VALUES)
    assert verify_anywhere(folder).intact
