"""Runs a command of DVC as a user would, in the environment of this interpreter."""

import os
import subprocess
import sys
from pathlib import Path

from pipeline.errors import StoreError


def run_dvc(*arguments: str) -> None:
    """Run `dvc` with these arguments; what it prints goes to the terminal.

    Raises:
        StoreError: it failed.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    binaries = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(command, env=environment, check=False)
    if done.returncode:
        raise StoreError(f"`{' '.join(command[1:])}` failed with exit code {done.returncode}; see its message above.")
