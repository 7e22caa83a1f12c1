"""The store command beside damaged stores: they are listed, and gc takes nothing from them."""

import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from pipeline.encoding.remembered import remember
from pipeline.features import Fingerprint
from pipeline.features.manifest import MANIFEST
from pipeline.features.sealed import seal, unseal
from pipeline.paths import WORK_VARIABLE
from pipeline.store.__main__ import main
from pipeline.store.listing import ROOT, stores
from pipeline.store.needs import needs_of
from tests.features import stores as made
from tests.features.stores import flip, normal, write_store

ONE, OTHER = (Fingerprint({"weights": name}, {"model": f"model-{name}"}) for name in "ab")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scratch folder of a project with a store of `ONE` (3 shards) and one of `OTHER` (2 shards)."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {}")
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    monkeypatch.setattr("pipeline.store.__main__.collect_cache", lambda *_, **__: "")
    for fingerprint, name, rows in ((ONE, "one", 20), (OTHER, "other", 16)):
        with patch.object(made, "FINGERPRINT", fingerprint):
            store = write_store(tmp_path / name, {"cls": normal(rows, 2, 5)}, 8)
        shutil.copytree(store, ROOT / "pairs" / "eye" / name)  # copies: no second name protects what is in scratch
        (tmp_path / "work" / "scratch").mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "scratch").rename(tmp_path / "work" / "scratch" / fingerprint.digest[:32])
        shutil.rmtree(tmp_path / name)
    return tmp_path / "work" / "scratch"


def shards(scratch: Path, fingerprint: Fingerprint) -> int:
    return len(list(scratch.glob(f"{fingerprint.digest[:32]}/*/shard.json")))


STORE = ROOT / "pairs" / "eye" / "one"


def damage(name: str) -> None:
    flip(STORE / name, (STORE / name).stat().st_size // 2, 2)


def wrong_digest() -> None:
    path = STORE / "zarr.json"
    path.write_text(path.read_text().replace(ONE.digest, OTHER.digest))


def newer_manifest() -> None:
    path = STORE / MANIFEST
    path.write_bytes(seal(unseal(path.read_bytes()) | {"schema": 99}))


def test_gc_frees_what_no_store_names(scratch: Path) -> None:
    shutil.rmtree(STORE)
    assert main(["gc"]) == 0
    assert shards(scratch, ONE) == 3, "without --yes nothing is removed"
    assert main(["gc", "--yes"]) == 0
    assert (shards(scratch, ONE), shards(scratch, OTHER)) == (0, 2)


@pytest.mark.parametrize(
    "harm",
    [
        lambda: damage("zarr.json"),
        lambda: damage(MANIFEST),
        lambda: damage("rows.parquet"),
        lambda: damage("cls/zarr.json"),
        lambda: (STORE / "zarr.json").unlink(),
        lambda: (STORE / "rows.parquet").unlink(),
        lambda: (STORE / MANIFEST).unlink(),
        wrong_digest,
        newer_manifest,
    ],
)
def test_gc_keeps_all_shards_of_a_damaged_store(
    scratch: Path, harm: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(harm)
    harm()
    shutil.rmtree(ROOT / "pairs" / "eye" / "other")
    assert main(["gc", "--yes"]) == 0
    assert shards(scratch, ONE) == 3
    assert shards(scratch, OTHER) == 0, "what nothing names is freed all the same"
    assert f"{STORE}: its list of shards cannot be trusted" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["damaged", "missing", "other digest"])
def test_gc_removes_no_shard_while_a_store_says_nothing(
    scratch: Path, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if lost == "other digest":
        wrong_digest()
        damage(MANIFEST)
    for name in ("zarr.json", MANIFEST, "rows.parquet") if lost != "other digest" else ():
        (STORE / name).unlink() if lost == "missing" else (STORE / name).write_bytes(b"{}")
    shutil.rmtree(ROOT / "pairs" / "eye" / "other")
    assert main(["gc", "--yes"]) == 1
    assert (shards(scratch, ONE), shards(scratch, OTHER)) == (3, 2)
    assert f"Repair it first with: python -m pipeline.store repair {STORE}" in capsys.readouterr().out
    assert main(["ls"]) == 1
    assert "1 that cannot be read may need some" in capsys.readouterr().out
    assert main(["verify"]) == 1
    expected = "1 files damaged" if lost == "other digest" else "cannot be checked"
    assert f"{STORE}: {expected}" in capsys.readouterr().out


def test_an_intact_store_needs_its_own_shards_only(scratch: Path) -> None:
    found = needs_of(STORE)
    assert found.fingerprints == {ONE.digest[:32]}
    assert found.keys == {path.parent.name for path in scratch.glob(f"{ONE.digest[:32]}/*/shard.json")}
    assert not found.includes(OTHER.digest[:32], min(found.keys))


@pytest.mark.usefixtures("scratch")
def test_what_a_killed_publishing_left_is_no_store() -> None:
    shutil.copytree(STORE, STORE.with_name(".one.partial"))
    (ROOT / "pairs" / "eye" / "empty").mkdir()
    assert list(stores()) == [STORE, STORE.with_name("other")]


def test_ls_says_what_is_checked_and_what_only_scratch_holds(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    said = capsys.readouterr().out
    assert said.count("metadata intact, shards not checked (verify reads them)") == 2
    assert "only in scratch" not in said
    (STORE / MANIFEST).unlink()
    shutil.rmtree(ROOT / "pairs" / "eye" / "other")
    assert main(["ls"]) == 0
    said = capsys.readouterr().out
    assert "no manifest, metadata not checked" in said
    assert f"    {OTHER.digest[:12]}  unknown      2 shards         16 rows        0.0 MB\n" in said
    remember(scratch / OTHER.digest[:32], {"encoder": "model-b"})
    assert main(["ls"]) == 0
    assert f"    {OTHER.digest[:12]}  model-b      2 shards" in capsys.readouterr().out


def test_a_store_that_no_stage_writes_is_told_what_to_do(scratch: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage("zarr.json")
    assert main(["repair", str(STORE)]) == 1
    said = capsys.readouterr().err
    assert f"No stage in dvc.lock writes {STORE}" in said
    assert str(scratch / ONE.digest[:32]) in said
    assert "dvc repro encode@<store>" in said
