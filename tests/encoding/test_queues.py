"""The commands of docs/clusters.md for SLURM and plain shells as they are printed, under a stand-in for the queue."""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.features.shards import RECORD
from pipeline.features.verify import verify
from pipeline.paths import WORK_VARIABLE
from stages.encode import encode
from tests.encoding.clone import ITEM, ROOT, STORE, files, make_clone, settings

pytestmark = pytest.mark.long

PAGE = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.S)
OPTIONS = (  # of sbatch that the page uses; a name that sbatch does not know ends a job before it begins
    *("--job-name", "--array", "--gpus", "--cpus-per-task", "--mem", "--time", "--signal", "--dependency"),
    *("--nodes", "--ntasks-per-node", "--gpus-per-node"),
)
SHARDS = 6  # of 90 pictures


def block(*holding: str) -> str:
    """The one block of commands that holds all of these."""
    found = [one for one in BLOCKS if all(text in one for text in holding)]
    assert len(found) == 1, holding
    return found[0]


class Queue:
    """What SLURM does with a script: reads its options, and runs it for each task of the array with its variables."""

    def __init__(self, clone: Path, script: str) -> None:
        self.clone = clone
        (clone / "encode.sh").write_text(script)
        parser = argparse.ArgumentParser(allow_abbrev=False)
        for name in OPTIONS:
            parser.add_argument(name)
        parser.add_argument("--requeue", action="store_true")
        lines = re.findall(r"^#SBATCH (.*)$", script, flags=re.M)
        assert lines
        self.options = parser.parse_args([word for line in lines for word in shlex.split(line)])

    def start(self, task: int, tasks: int, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        own = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(tasks), "SLURM_JOB_ID": "1"}
        return started(self.clone, "encode.sh", *arguments, **own, **variables)


def started(clone: Path, script: str, *arguments: str, **variables: str) -> subprocess.Popen[str]:
    """A script in the clone, in a shell of its own as a queue starts it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")} | {
        "PATH": f"{clone / 'bin'}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        WORK_VARIABLE: str(clone / "work"),
        **variables,
    }
    return subprocess.Popen(
        ["bash", "-e", script, *arguments],
        cwd=clone,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    said, _ = process.communicate(timeout=240)
    assert process.returncode == code, said
    return said


def executable(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{content}\n")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with an environment of its own, in which `srun` runs its command and `dvc` notes that it was called."""
    folder = tmp_path / "clone"
    folder.mkdir()
    make_clone(folder, shard_rows=16)
    monkeypatch.chdir(folder)
    executable(folder / "bin" / "srun", 'exec "$@"')
    executable(folder / "bin" / "dvc", 'echo "dvc $*" >> dvc-calls')
    activated = f"export PATH={shlex.quote(str(folder / '.venv' / 'bin'))}:$PATH PYTHONPATH={shlex.quote(str(ROOT))}"
    executable(folder / ".venv" / "bin" / "activate", activated)
    slowly = shlex.quote(str(Path(__file__).with_name("slowly.py")))
    executable(folder / ".venv" / "bin" / "python", f'exec {shlex.quote(sys.executable)} {slowly} "$@"')
    return folder


@pytest.fixture
def expected(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, bytes]:
    """The store as one process alone writes it."""
    monkeypatch.setenv(WORK_VARIABLE, str(tmp_path / "alone"))
    encode(settings(clone))
    found = files(clone / STORE)
    shutil.rmtree(clone / STORE)
    return found


def test_an_array_job_of_which_a_task_is_ended_at_its_limit_and_queued_again(
    clone: Path, expected: Mapping[str, bytes]
) -> None:
    queue = Queue(clone, block("#SBATCH", "--array"))
    assert queue.options.requeue
    assert queue.options.signal.startswith("TERM")
    tasks = 3  # as `sbatch --array=1-3` has it; the options of the script count where the command has none
    cut, others = clone / "cut", []
    first = queue.start(2, tasks, ITEM, STOP_IN=str(cut))
    others = [queue.start(task, tasks, ITEM) for task in (1, 3)]
    while not cut.exists():
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    for other in others:
        assert "other parts are not finished" in ended(other)
    done = {path: path.stat().st_mtime_ns for path in clone.glob(f"work/scratch/*/*/{RECORD}")}
    assert len(done) == SHARDS - 1
    assert not (clone / STORE).exists()
    os.killpg(first.pid, signal.SIGTERM)
    first.communicate(timeout=60)
    assert first.returncode != 0
    said = ended(queue.start(2, tasks, ITEM, SLURM_RESTART_COUNT="1"))
    assert "the store is whole" in said
    assert files(clone / STORE) == expected
    assert verify(clone / STORE).intact
    assert {path: path.stat().st_mtime_ns for path in done} == done, "what was finished was not written again"
    assert "no backbone is run" in ended(queue.start(1, tasks, ITEM)), "a task that runs once more finds all done"


def test_the_job_behind_it_looks_at_the_lock_and_goes_on(clone: Path) -> None:
    queue = Queue(clone, block("#SBATCH", "dvc repro"))
    assert queue.options.dependency == "singleton"
    ended(started(clone, "encode.sh"))
    assert (clone / "dvc-calls").read_text() == "dvc repro\n"


def test_parts_on_the_cards_of_one_machine_in_a_plain_shell(clone: Path, expected: Mapping[str, bytes]) -> None:
    loop = block("for gpu in 0 1 2 3", "+part=")
    (clone / "loop.sh").write_text(f"source .venv/bin/activate\n{loop.replace('0 1 2 3', '0 1').replace('/4', '/2')}")
    said = ended(started(clone, "loop.sh"))
    assert said.count("the store is whole") == 1
    assert files(clone / STORE) == expected
    assert (clone / "dvc-calls").read_text() == "dvc repro\n"


def test_shards_of_disks_that_are_not_shared_are_put_together(clone: Path, expected: Mapping[str, bytes]) -> None:
    commands = block("PERMAFROST_WORK=/local/permafrost", "cp -rn")
    encoded, copied, whole = [line for line in commands.splitlines() if line]
    here = clone / "work"
    lines = ["source .venv/bin/activate"]
    for node in (1, 2):
        local = str(clone.parent / f"node {node}")
        own = (line.replace("/local/permafrost", shlex.quote(local)) for line in (encoded, copied))
        lines += [line.replace("+part=3/64", f"+part={node}/2").replace(".dvc/permafrost", str(here)) for line in own]
    (here / "scratch").mkdir(parents=True)
    (clone / "nodes.sh").write_text("\n".join([*lines, whole]))
    assert f"all {SHARDS} shards are cached" in ended(started(clone, "nodes.sh"))
    assert files(clone / STORE) == expected
