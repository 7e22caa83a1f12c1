"""Several processes on this machine, as torchrun would start them, without the seconds that torchrun itself takes."""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.alignment.toy import ROOT

PATIENCE = 240.0  # seconds


def environment(**more: str) -> dict[str, str]:
    """Of a process that imports this project from anywhere, on one core, with messages as a user gets them."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PERMAFROST_TRACEBACK": "0", **more}


def start(count: int, command: Sequence[str], folder: Path, **more: str) -> list[subprocess.Popen[str]]:
    """So many processes of `python COMMAND`, by rank, each with its own file of messages, `folder`/<rank>.txt."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(count):
        own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        named = {key: str(value) for key, value in own.items()} | {"MASTER_ADDR": "127.0.0.1"} | more
        with open(folder / f"{rank}.txt", "w", encoding="utf-8") as messages:
            started.append(
                subprocess.Popen(
                    [sys.executable, *command], env=environment(**named), stdout=messages, stderr=messages, text=True
                )
            )
    return started


def said(folder: Path, rank: int) -> str:
    """What a process wrote."""
    return (folder / f"{rank}.txt").read_text(encoding="utf-8")


def wait(processes: Sequence[subprocess.Popen[str]]) -> list[int]:
    """Their exit codes; whoever hangs is killed and the test fails."""
    try:
        return [process.wait(PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()


def kill_tree(process: subprocess.Popen[str]) -> None:
    """SIGKILL a process and all that it started, as a machine that is switched off does."""
    parent = psutil.Process(process.pid)
    for one in (parent, *parent.children(recursive=True)):
        one.kill()
    process.wait(PATIENCE)
