"""The command `python -m stages.encode`, with parts and engines; in this process, since each start costs seconds."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import load_config
from pipeline.config.written import write_settings
from pipeline.encoding.ray_worker import Home
from pipeline.errors import ConfigError
from pipeline.paths import WORK_VARIABLE
from stages.encode import encode
from stages.entry import run
from stages.index import index
from tests.config.refusals import refusal
from tests.encoding.clone import ITEM, STORE, files, make_clone, settings


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("clone") / "my project"
    folder.mkdir()
    make_clone(folder, shard_rows=16)
    return folder


@pytest.fixture
def command(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a stage in the clone; gives its exit code and what it wrote to stderr."""
    monkeypatch.chdir(clone)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "work"))

    def ran(*words: str, stage: Callable[..., None] = encode) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [f"stages/{stage.__name__}.py", *words])
        try:
            run(stage, in_parts=stage is encode)
        except SystemExit as ended:
            return int(ended.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return ran


def test_parts_on_the_command_line_make_the_store_of_one_run(
    command: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setenv(WORK_VARIABLE, str(tmp_path / "whole"))
        assert command(f"+item={ITEM}")[0] == 0
    expected = files(STORE)
    STORE.rename(tmp_path / "aside")
    code, said = command(f"+item={ITEM}", "+part=2/2")
    assert (code, STORE.exists()) == (0, False)
    assert f"{ITEM} part 2/2: 42 rows in 3 shards to write" in said
    assert "3 of 6 shards are left to parts 1/2" in said
    code, said = command(f"+item={ITEM}", "+part=1/2")
    assert (code, files(STORE)) == (0, expected)
    assert "the store is whole" in said
    assert "no backbone is run" in command(f"+item={ITEM}", "+part=1/2")[1]
    timings = [json.loads(line)["stage"] for line in (tmp_path / "work" / "timings.jsonl").read_text().splitlines()]
    assert timings == [f"encode@{ITEM}+part=2/2", *[f"encode@{ITEM}+part=1/2"] * 2]


@pytest.mark.parametrize("part", ["0/3", "4/3", "a/b", "3", "''"])
def test_a_part_that_is_none(part: str, command: Callable[..., tuple[int, str]], tmp_path: Path) -> None:
    code, said = command(f"+item={ITEM}", f"+part={part}")
    assert code == 1
    assert f"+part={part.strip(chr(39))} is no part" in said
    assert not (tmp_path / "work" / "scratch").exists()


def test_a_stage_without_parts(command: Callable[..., tuple[int, str]]) -> None:
    code, said = command("+item=mine", "+part=1/3", stage=index)
    assert code == 1
    assert "Stage index has no parts: run it without +part" in said


def test_dvc_compares_no_engine(clone: Path, tmp_path: Path) -> None:
    """Another engine, or another cluster, runs no stage again."""
    written = {}
    text = (clone / "params.yaml").read_text()
    for name, more in (("local", ""), ("ray", "  engine: ray\n  ray: {address: auto, cpus: 4}\n")):
        path = tmp_path / "params.yaml"
        path.write_text(text.replace("encode:\n", f"encode:\n{more}"))
        params = load_config(path).params
        assert params.encode.engine == name
        write_settings(params, tmp_path / name)
        written[name] = {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.json")}
    assert written["ray"] == written["local"]
    compared = json.loads(written["ray"][Path("encode") / f"{ITEM}.json"])["encode"]
    assert "shard_rows" in compared
    assert not {"engine", "ray"} & compared.keys()


@pytest.mark.parametrize(
    ("encode_section", "message"),
    [
        ({"ray": {"cpus": 4}}, "`ray` would have no effect: it is about `engine: ray`"),
        ({"engine": "ray", "ray": {"address": "ray://head:10001"}}, "not as a client of it"),
        ({"engine": "ray", "ray": {"workers": 4}}, "workers"),
        ({"engine": "dask"}, "local"),
    ],
)
def test_engines_that_are_refused(encode_section: dict[str, Any], message: str) -> None:
    said = refusal({"encode": encode_section})
    assert message in said
    assert "encode" in said


def test_a_machine_without_the_project_or_with_other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    here = Home.here(tmp_path)
    for changed, message in (
        ({"folder": "/nowhere"}, "the folder /nowhere is not there on "),
        ({"work": "/nowhere/work"}, "the folder /nowhere/work is not there on "),
        ({"package": "/other/pipeline"}, "Permafrost on .* is .*, that of the stage is /other/pipeline"),
        ({"torch": "1.0"}, "that of the stage is 1.0. Start Ray on every node"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(here, **changed).enter()
    monkeypatch.setenv("HF_HOME", "/models")
    monkeypatch.setenv(WORK_VARIABLE, "of the node")
    there = Home.here(tmp_path)
    monkeypatch.delenv("HF_HOME")
    there.enter()
    assert (os.environ["HF_HOME"], os.environ[WORK_VARIABLE]) == ("/models", str(tmp_path))


def test_without_ray_the_message_says_what_to_install(
    clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path))
    for name in [name for name in sys.modules if name == "ray" or name.startswith(("ray.", "pipeline.encoding.ray_"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'permafrost-align\[ray\]'(?s:.*)\+part=1/8"):
        encode(settings(clone, engine="ray"))
    encode(settings(clone, engine="local"))
