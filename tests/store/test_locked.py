"""The store command and what dvc.lock lists: stores that are gone, outputs that changed, encodes that run."""

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml

from pipeline.features import Fingerprint
from pipeline.features.dvc_cache import md5_of
from pipeline.features.scratch import exclusive
from pipeline.paths import WORK_VARIABLE
from pipeline.store.__main__ import main
from pipeline.store.collect import collect_scratch
from pipeline.store.listing import ROOT
from pipeline.store.locked import Output, all_stores, locked_outputs
from pipeline.store.mend import Mended
from pipeline.store.outputs import compare, compare_store, folder_md5
from tests.features import stores as made
from tests.features.stores import flip, normal, write_store

FINGERPRINT = Fingerprint({"weights": "a"}, {"model": "model-a"})
STORE, HEAD, TABLE = ROOT / "pairs" / "eye" / "one", Path("data/models/small"), Path("data/results/scores.json")
SHARDS = FINGERPRINT.digest[:32]
PROJECT = {
    "stages": {
        "encode": {"foreach": "${stores.pairs}", "do": {"cmd": "e", "outs": ["data/features/pairs/eye/${key}"]}},
        "train": {"cmd": "t", "outs": ["data/models/small"]},
        "evaluate": {"cmd": "v", "metrics": ["data/results/scores.json"]},
    }
}


def cached(path: Path) -> str:
    """Put a file into DVC's cache; returns its MD5."""
    digest = md5_of(path)
    target = Path(".dvc/cache/files/md5") / digest[:2] / digest[2:]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return digest


def recorded(stage: str, path: Path) -> dict[str, object]:
    """An entry of dvc.lock for what is at `path`, as DVC writes it, with the content in its cache."""
    digest = ""
    if path.is_dir():
        sums = {file.relative_to(path).as_posix(): cached(file) for file in path.rglob("*") if file.is_file()}
        listing = Path("listing.json")
        listing.write_text(json.dumps([{"md5": sums[name], "relpath": name} for name in sorted(sums)]))
        digest = md5_of(listing) + ".dir"
        assert folder_md5(sums) == digest
        target = Path(".dvc/cache/files/md5") / digest[:2] / digest[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        listing.rename(target)
    else:
        digest = cached(path)
    return {"cmd": stage, "outs": [{"path": path.as_posix(), "hash": "md5", "md5": digest, "size": 1}]}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a store, a head and a table, all of them in dvc.lock; gives its scratch folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))
    monkeypatch.setattr("pipeline.store.__main__.collect_cache", lambda *_, **__: "")
    with patch.object(made, "FINGERPRINT", FINGERPRINT):
        store = write_store(tmp_path / "one", {"cls": normal(20, 2, 5)}, 8)
    shutil.copytree(store, STORE)
    (tmp_path / "work" / "scratch").mkdir(parents=True)
    (tmp_path / "one" / "scratch").rename(tmp_path / "work" / "scratch" / SHARDS)
    shutil.rmtree(tmp_path / "one")
    (HEAD / "repeat-0").mkdir(parents=True)
    (HEAD / "config.json").write_text("{}")
    (HEAD / "repeat-0" / "head.safetensors").write_bytes(bytes(range(64)))
    TABLE.parent.mkdir(parents=True)
    TABLE.write_text("[1, 2]")
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    Path("dvc.yaml").write_text(yaml.safe_dump(PROJECT))
    Path("params.yaml").write_text("stores: {pairs: {one: {}}}")
    stages = {"encode@one": STORE, "train": HEAD, "evaluate": TABLE}
    lock = {"schema": "2.0", "stages": {stage: recorded(stage, path) for stage, path in stages.items()}}
    Path("dvc.lock").write_text(yaml.safe_dump(lock, sort_keys=False))
    return tmp_path / "work" / "scratch"


def output(path: Path) -> Output:
    return next(one for one in locked_outputs() if one.path == path)


@pytest.mark.usefixtures("project")
def test_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify"]) == 0
    assert "2 outputs beside the stores are as dvc.lock has them, 0.0 MB read" in capsys.readouterr().out
    assert main(["ls"]) == 0
    (HEAD / "__pycache__").mkdir()
    (HEAD / "__pycache__" / "x.pyc").touch()
    (HEAD / "config.json.partial").touch()
    assert compare(output(HEAD)).same, "what DVC ignores is ignored"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("gone", [STORE, ROOT, Path("data")])
def test_a_store_that_is_gone(gone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(gone)
    assert main(["verify"]) == 1
    assert (
        f"{STORE}: gone\n    dvc.lock lists it. Bring it back with: dvc checkout encode@one" in capsys.readouterr().out
    )
    assert main(["ls"]) == 1
    assert f"{STORE}  gone: dvc.lock lists it" in capsys.readouterr().out
    assert main(["verify", str(STORE)]) == 1
    assert all_stores() == [STORE]
    with patch("pipeline.store.repair.run_dvc") as ran:
        assert main(["repair"]) == 1, "its stage did nothing here"
    assert ran.call_args.args == ("repro", "--force", "--single-item", "encode@one")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", [["ls"], ["verify"], ["repair"], ["gc"]])
@pytest.mark.parametrize("where", ["data/features", "/"])
def test_a_wrong_folder(
    command: list[str], where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path.cwd()
    monkeypatch.chdir(where)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "holds no dvc.yaml" in said
    assert f"First: cd {root}" in said if where != "/" else "First: cd to the folder that holds dvc.yaml" in said


@pytest.mark.usefixtures("project")
def test_named_stores_can_be_checked_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir("/")
    assert main(["verify", str(tmp_path / STORE)]) == 0
    assert main(["ls", str(tmp_path / STORE)]) == 0
    assert main(["verify", str(tmp_path / "nothing")]) == 1


@pytest.mark.usefixtures("project")
def test_a_store_that_params_yaml_no_longer_names_is_not_missed() -> None:
    shutil.rmtree(STORE)
    Path("params.yaml").write_text("stores: {pairs: {}}")
    assert main(["verify"]) == 0
    assert all_stores() == []


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("harm", ["flip", "missing", "foreign", "file"])
def test_an_output_that_is_not_what_dvc_recorded(harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = HEAD / "repeat-0" / "head.safetensors"
    if harm == "flip":
        state = path.stat()
        flip(path, 9, 3)
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif harm == "missing":
        path.unlink()
    elif harm == "foreign":
        path.with_name("mine").touch()
    else:
        flip(TABLE, 1, 0)
    assert main(["verify"]) == 1
    said = capsys.readouterr().out
    expected = {
        "flip": f"{HEAD}: 1 of its files differ (train)\n    repeat-0/head.safetensors: changed",
        "missing": "    repeat-0/head.safetensors: missing",
        "foreign": "    repeat-0/mine: foreign",
        "file": f"{TABLE}: its content has changed (evaluate)",
    }
    assert expected[harm] in said
    assert "1 outputs are not as dvc.lock has them. Repair them with: python -m pipeline.store repair" in said
    if harm != "file":
        assert main(["verify", str(HEAD)]) == 1
        shutil.rmtree(".dvc/cache")
        assert compare(output(HEAD)).problem == "some of its files differ", "also without the list of files"


@pytest.mark.usefixtures("project")
def test_a_store_of_other_features_that_agrees_with_itself(tmp_path: Path) -> None:
    assert compare_store(output(STORE)).same
    with patch.object(made, "FINGERPRINT", FINGERPRINT):
        other = write_store(tmp_path / "other", {"cls": normal(20, 2, 5, seed=1)}, 8)
    shutil.rmtree(STORE)
    shutil.move(other, STORE)
    assert main(["verify"]) == 1
    assert compare_store(output(STORE)).problem == "it is another store than DVC recorded"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("command", [["ls"], ["verify"], ["gc", "--yes"]])
def test_a_cut_lock(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    lock = Path("dvc.lock")
    assert main(["repair"]) == 0, "takes a copy of the lock"
    for cut in (b"", lock.read_bytes()[:200], lock.read_bytes().partition(b"  evaluate:")[0]):
        whole = lock.read_bytes()
        lock.write_bytes(cut)
        assert main(command) == 1
        assert "python -m pipeline.dvc_lock" in capsys.readouterr().err
        assert main(["repair"]) == 0
        assert "It was replaced by the last whole one" in capsys.readouterr().out
        assert lock.read_bytes() == whole


def hold(folder: Path, ready: Event) -> None:
    with exclusive(folder):
        ready.set()
        multiprocessing.Event().wait(60)


@contextmanager
def encoding(folder: Path) -> Iterator[int]:
    """Another process encodes features of this scratch folder; gives its number."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(folder, ready))
    process.start()
    try:
        assert ready.wait(60)
        assert process.pid is not None
        yield process.pid
    finally:
        process.kill()
        process.join()


def test_gc_leaves_a_running_encode_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DVC has removed its output, and its shards have one name only; another encode was killed."""
    shutil.rmtree(STORE)
    Path("dvc.lock").unlink()
    (project / SHARDS / "being-written.partial").mkdir()
    (project / SHARDS / "being-written.partial" / "cls").write_bytes(bytes(99))
    (project / "killed" / "one.partial").mkdir(parents=True)
    before = sorted(path for path in (project / SHARDS).rglob("*") if path.name != "lock")
    with encoding(project / SHARDS) as process:
        assert main(["gc"]) == 0
        assert main(["gc", "--yes"]) == 0
        said = f"{project / SHARDS}: process {process} is encoding these features, so all of them stay"
        assert capsys.readouterr().out.count(said) == 2
        assert sorted(path for path in (project / SHARDS).rglob("*") if path.name != "lock") == before
        assert not (project / "killed" / "one.partial").exists(), "the rest is freed all the same"
    done = collect_scratch(dry=False)
    assert (len(done.shards), len(done.partial), done.held) == (3, 1, ())


def test_repair_leaves_a_running_encode_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(STORE / "cls" / "c" / "0" / "0" / "0", 5, 5)
    shard = next(project.glob("*/*/cls"))
    flip(shard, 5, 5)
    with encoding(project / SHARDS) as process:
        assert main(["repair", str(STORE)]) == 1
        assert f"Another encode (process {process})" in capsys.readouterr().err
    assert shard.is_file()


def test_gc_keeps_what_the_last_run_needed_while_dvc_has_removed_the_store(project: Path) -> None:
    """Between the start of an encode stage and its lock, only dvc.lock and the cache tell whose shards these are."""
    shutil.rmtree(STORE)
    assert main(["gc", "--yes"]) == 0
    assert len(list(project.glob(f"{SHARDS}/*/shard.json"))) == 3
    shutil.rmtree(".dvc/cache")
    assert main(["gc", "--yes"]) == 0
    assert not list(project.glob(f"{SHARDS}/*/shard.json"))


@pytest.mark.usefixtures("project")
def test_repair_begins_with_what_others_are_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store must not be written again from a damaged checkpoint, nor a head from a damaged store."""
    stages = {"prepare": {"cmd": "p", "outs": ["data/results/scores.json"]}} | PROJECT["stages"]
    del stages["evaluate"]
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    assert [one.stage for one in locked_outputs()] == ["evaluate", "encode@one", "train"]
    for path in (TABLE, HEAD / "config.json", STORE / "zarr.json"):
        path.unlink()
    order: list[Path] = []

    def noted(output: Output) -> Mended:
        order.append(output.path)
        return Mended(compare(output))

    monkeypatch.setattr("pipeline.store.__main__.mend", noted)
    monkeypatch.setattr("pipeline.store.__main__.repair_all", lambda folders: order.extend(folders) or ())
    assert main(["repair"]) == 0
    assert order == [TABLE, STORE, HEAD]
