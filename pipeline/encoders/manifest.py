"""`permafrost.json`: what a checkpoint folder holds, written last, so that its presence means the folder is complete.

This module imports no model library: other stages read manifests to compare fingerprints.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError

MANIFEST = "permafrost.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Description:
    """A checkpoint as its model library describes it.

    Attributes:
        architecture: class (transformers, sentence-transformers) or architecture name (timm).
        width: length of a feature vector.
        patch_size: side of a patch in pixels; None for CNNs and texts.
        layers: number of blocks that `layers` of an encoder may name; None where only the last output exists.
        prefix_tokens: CLS, register and distillation tokens in front of the patches; None for texts.
        preprocessing: images: mean, std, interpolation, resize and crop; texts: max_tokens, positions and pooling.
    """

    architecture: str
    width: int
    patch_size: int | None
    layers: int | None
    prefix_tokens: int | None
    preprocessing: Mapping[str, Any]


@dataclass(frozen=True)
class Manifest(Description):
    """A checkpoint folder: where it came from, what it is, and which bytes determine its features.

    Attributes:
        format_version: of this file.
        source, model, loader, modality: as in params.yaml.
        requested_revision: as in params.yaml; None where none was given.
        resolved_revision: commit of a hub checkpoint, digest of an embedded payload; None for local folders.
        files: path in the folder -> SHA-256 of its bytes.
        weights_sha256: one digest over `files`, which determine the features: weights, configuration, tokenizer.
    """

    format_version: int
    source: str
    model: str
    loader: str
    modality: str
    requested_revision: str | None
    resolved_revision: str | None
    files: Mapping[str, str]
    weights_sha256: str


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a checkpoint folder.

    Raises:
        CheckpointError: it is missing or has another format; the message has the command that fixes it.
    """
    path = folder / MANIFEST
    remedy = f"run: dvc repro checkpoint@{folder.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"Expected a finished checkpoint in {folder}, found no {MANIFEST} there; {remedy}"
        ) from None
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); {remedy}") from error
    expected = {field.name for field in fields(Manifest)}
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION or set(content) != expected:
        raise CheckpointError(f"{path}: expected manifest format {FORMAT_VERSION}, found {version}; {remedy}")
    return Manifest(**content)


def manifest_for(folder: Path, loader: str, modality: str) -> Manifest:
    """The manifest of a checkpoint folder that must be of a loader and a modality.

    Raises:
        CheckpointError: as `read_manifest`, or the folder is of another loader or modality.
    """
    manifest = read_manifest(folder)
    if (manifest.loader, manifest.modality) != (loader, modality):
        raise CheckpointError(
            f"{folder} holds a checkpoint for {manifest.modality}s and loader {manifest.loader}, params.yaml asks for "
            f"{modality}s and loader {loader}; run: dvc repro checkpoint@{folder.name}"
        )
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; do this last."""
    text = json.dumps(asdict(manifest), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder except the manifest, by POSIX path, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in paths}


def combined_digest(files: Mapping[str, str]) -> str:
    """One SHA-256 over paths and digests, independent of times and of the order of the mapping."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
