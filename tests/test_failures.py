"""Whatever a command raises ends in one message and an exit code, never in a traceback; what nobody foresaw is kept."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.errors import DataError, PermafrostError
from pipeline.explanations import message_of
from pipeline.failures import VARIABLE, exit_code, report, reported
from pipeline.files import write_json
from pipeline.parquet import read_parquet

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERMAFROST_WORK", str(tmp_path / "work"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "work"


def raised(run: Callable[[], Any]) -> BaseException:
    try:
        run()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def said(error: BaseException, capsys: pytest.CaptureFixture[str], command: str = "train@default") -> str:
    code = report(error, command)
    out, err = capsys.readouterr()
    assert code == 1
    assert out == ""
    assert err.startswith("error: ")
    assert "Traceback" not in err
    assert all(line.startswith(("error: ", " ")) for line in err.splitlines())
    return err


def raising(error: BaseException) -> Callable[[], Any]:
    def run() -> None:
        raise error

    return run


@pytest.mark.parametrize("name", ["table.json", "picture.png"])
def test_a_full_disk_is_told_whoever_writes(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Behind /dev/full there is never any room."""
    path = tmp_path / name
    for link in (path, path.with_name(name + ".partial")):
        link.symlink_to("/dev/full")
    write: dict[str, Callable[[], Any]] = {
        ".json": lambda: write_json({"a": list(range(100_000))}, path),
        ".png": lambda: Image.effect_noise((500, 500), 90).save(path, format="PNG"),
    }
    message = said(raised(write[path.suffix]), capsys)
    assert message.startswith("error: No space is left to write ")
    assert re.search(r"Free: [\d,.]+ MB at /", message)
    assert "python -m pipeline.store gc --yes" in message
    assert "run the same command again" in message


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "/data/x"),
        OSError(errno.EDQUOT, "Disk quota exceeded", "/data/x"),
        OSError(errno.ENOSPC, "No space left on device", "/from", None, "/data/x"),
    ],
)
def test_the_path_that_was_to_be_written_is_named(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No space is left to write /data/x (" in said(error, capsys)


def test_a_full_disk_behind_other_errors(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where a library wraps it in an error of its own, or tells it in words alone."""
    from safetensors import SafetensorError

    def wrapped() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("the library failed") from error

    worded = SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    for error in (raised(wrapped), worded):
        assert "error: No space is left" in said(error, capsys)
    ours = DataError("the table is damaged")
    ours.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    message = said(ours, capsys)
    assert message.startswith("error: the table is damaged\n  No space is left")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "permissions"),
        (errno.EPERM, "permissions"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.ENOENT, "vanished"),
        (errno.EIO, "system's log"),
        (errno.ENOTDIR, "move it away"),
        (errno.ELOOP, "circle"),
        (errno.ETXTBSY, "run the same command again"),
    ],
)
def test_errors_of_the_system_say_where_and_what_helps(
    number: int, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = said(OSError(number, os.strerror(number), "/data/\x1b]0;owned\x07"), capsys)
    assert "/data/\\x1b]0;owned\\x07: " in message
    assert f"[{errno.errorcode[number]}]" in message
    assert advice in message


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 7.45 GiB for an array"),
        pa.ArrowMemoryError("malloc of size 9 failed"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_short_memory(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    message = said(error, capsys)
    assert "does not suffice" in message
    assert ("the GPU" in message) == ("CUDA" in str(error))
    assert "batch_size" in message


def test_a_lost_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Lower encode.workers" in said(BrokenProcessPool("A process was terminated abruptly"), capsys)


def test_text_of_other_encodings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "latin"
    path.write_bytes(b"caf\xe9")
    assert f"{path}: text is not in the encoding" in said(raised(lambda: path.read_text(encoding="utf-8")), capsys)
    assert "in the encoding that is expected" in said(raised(lambda: "caf\udce9".encode()), capsys)
    assert "NUL character" in said(raised(lambda: Path("a\0b").read_bytes()), capsys)


def damaged_parquet(path: Path) -> None:
    path.write_bytes(b"PAR1 no table")
    read_parquet(path)


def damaged_picture(path: Path) -> None:
    path.write_bytes(b"no picture")
    Image.open(path)


def damaged_weights(path: Path) -> None:
    save_file({"a": np.zeros(9, np.float32)}, path)
    path.write_bytes(path.read_bytes()[:-4])
    safe_open(path, framework="np")


def damaged_json(path: Path) -> None:
    path.write_text("{")
    json.loads(path.read_text())


def deep_json(path: Path) -> None:
    path.write_text("[" * 100_000)
    json.loads(path.read_text())


def damaged_yaml(path: Path) -> None:
    path.write_text("a: [")
    yaml.safe_load(path.read_text())


@pytest.mark.parametrize(
    "read", [damaged_parquet, damaged_picture, damaged_weights, damaged_json, deep_json, damaged_yaml]
)
def test_files_that_a_library_cannot_read_are_named(
    read: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "input"
    message = said(raised(lambda: read(path)), capsys)
    assert str(path) in message
    assert "run `dvc repro`" in message


def test_a_recursion_of_our_own_is_no_nested_file(tmp_path: Path) -> None:
    def endless(path: Path) -> None:
        endless(path)

    assert message_of(raised(lambda: endless(tmp_path))) is None


def test_a_missing_package_and_a_missing_module_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert "make setup" in said(raised(lambda: __import__("no_such_package")), capsys)
    assert message_of(ModuleNotFoundError("No module named 'pipeline.x'", name="pipeline.x")) is None


def test_what_nobody_foresaw_is_one_line_and_a_file(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = said(raised(lambda: {}["\x1b[2J"]), capsys)
    assert len(message.splitlines()) == 1
    assert "train@default: KeyError" in message
    assert "This is a fault of the program" in message
    (path,) = work.rglob("*.txt")
    assert str(path) in message
    assert "Traceback (most recent call last)" in (kept := path.read_text())
    assert "test_failures.py" in kept
    assert path.stat().st_mode & 0o077 == 0


def test_reports_do_not_pile_up_and_follow_no_link(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "failures").mkdir(parents=True)
    (work / "failures" / "mine.txt").write_text("mine")
    for number in range(30):
        monkeypatch.setattr(os, "getpid", lambda number=number: 1000 + number)
        said(KeyError("x"), capsys)
    assert len(list((work / "failures").glob("*-*.txt"))) == 20
    assert (work / "failures" / "mine.txt").read_text() == "mine"
    (work / "failures").rename(tmp_path / "elsewhere")
    (work / "failures").symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    message = said(KeyError("x"), capsys)
    assert "its traceback is in " in message
    assert str(work) not in message
    assert sorted((tmp_path / "elsewhere").iterdir()) == before


def test_where_no_report_can_be_kept_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.failures._written", lambda *_: None)
    assert report(KeyError("x"), "train") == 1
    err = capsys.readouterr().err
    assert "KeyError: 'x'" in err
    assert "its traceback is above" in err


def test_a_developer_may_see_every_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    report(raised(raising(DataError("mend this"))), "train")
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith("error: mend this\n")


def test_names_in_a_message_make_no_line_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), reported("index@mine"):
        raise DataError("no picture: a\nerror: all is well\x1b[1A\n  and a detail")
    assert capsys.readouterr().err == "error: no picture: a\n  error: all is well\\x1b[1A\n  and a detail\n"


@pytest.mark.parametrize(("error", "code"), [(DataError("x"), 1), (KeyError("x"), 1), (KeyboardInterrupt(), 130)])
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as ended, reported("encode@mine"):
            raise error
        assert ended.value.code == code
        assert exit_code("python -m pipeline.store", raising(error)) == code
    finally:
        signal.signal(signal.SIGINT, before)
    assert exit_code("python -m pipeline.store", lambda: 3) == 3
    if code == 130:
        first = capsys.readouterr().err.splitlines()[0]
        assert first.startswith("interrupted: encode@mine has stopped. Finished shards are kept. Run")


def program(body: str, *, flush: str = "") -> list[str]:
    hears = (
        "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)"  # a job after `&` does not
    )
    return [sys.executable, "-c", f"{hears}\nfrom pipeline.failures import reported\n{body}\n{flush}"]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def test_ctrl_c_while_threads_work() -> None:
    body = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with reported('encode@mine'), ThreadPoolExecutor(2) as pool:\n"
        "    work = [pool.submit(time.sleep, 1) for _ in range(2)]\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "interrupted: encode@mine has stopped. Finished shards are kept. Run the same command again.\n"


AT_EXIT = "atexit.register(interrupt)"
IN_A_THREAD = "threading.Thread(target=lambda: (time.sleep(0.3), interrupt())).start()"


@pytest.mark.parametrize("late", [AT_EXIT, IN_A_THREAD])
@pytest.mark.parametrize(
    "begun", ["with reported('toy@mine'): pass", "from pipeline.failures import install; install()"]
)
def test_ctrl_c_after_the_work_is_done(late: str, begun: str) -> None:
    """Libraries wind up for some milliseconds (torch, zarr); nothing is lost any more, so nothing is said."""
    body = (
        "import atexit, os, signal, threading\n"
        "def interrupt():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.2)\n"
        f"{begun}\n{late}"
    )
    done = subprocess.run(program(body), capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_lost_ctrl_c_is_told_and_other_errors_stay_as_they_are() -> None:
    body = (
        "import os, signal\n"
        "class Lost:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(0.2)\n"
        "class Wrong:\n"
        "    def __del__(self):\n"
        "        raise ValueError('wrong')\n"
        "with reported('toy@mine'):\n"
        "    Lost()\n"
        "    Wrong()"
    )
    done = subprocess.run(program(body), capture_output=True, text=True, env=environment(), timeout=60, check=False)
    assert done.returncode == 0
    first, *others = done.stderr.splitlines()
    assert first == "Ctrl-C came while Python was cleaning up and stopped nothing; press it again."
    assert others[-1] == "ValueError: wrong"


@pytest.mark.parametrize("delay", [0.05, 0.3, 0.6, 1.0])
def test_ctrl_c_while_a_stage_is_imported(delay: float, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    command = [sys.executable, "-m", "stages.train", "+item=x"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        while not imported(process.pid):
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert "Traceback" not in out
    assert len(out.splitlines()) == 1, out
    assert process.returncode in (-signal.SIGINT, 130, 1)  # the last: it had come so far as to miss the item


def imported(pid: int) -> bool:
    """Whether a process has come so far that it imports our modules' libraries."""
    maps = Path(f"/proc/{pid}/maps")
    return not maps.is_file() or "libcrypt" in (text := maps.read_text()) or "_hashlib" in text or "_ctypes" in text


def test_a_reader_that_has_enough_is_no_error() -> None:
    body = "with reported('ls'):\n    for i in range(100_000): print(i)"
    with subprocess.Popen(
        program(body), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert err == ""
    assert process.returncode == 1


def test_a_full_disk_behind_stdout() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            program("with reported('report'):\n    print('done')"),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    assert done.returncode != 0
    assert done.stderr.startswith("error: No space is left")
    assert "Traceback" not in done.stderr


def test_command_lines_that_hydra_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    for argument, expected in (("+item=[", "Hydra cannot read the command line"), ("no.such=1", "Hydra cannot")):
        done = subprocess.run(
            [sys.executable, "-m", "stages.splits", argument],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment(),
        )
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert expected in done.stderr
        assert "Traceback" not in done.stderr


def test_every_command_goes_through_the_one_place() -> None:
    """A module that is run catches no error of its own."""
    for path in [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "stages").glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if '__name__ == "__main__"' not in text or path.name == "bootstrap.py":
            continue
        ways = ("import reported", "import exit_code", "entry import run", "from pipeline.commands import main")
        assert any(word in text for word in ways), path
        assert "except PermafrostError" not in text, path
    assert issubclass(DataError, PermafrostError)
