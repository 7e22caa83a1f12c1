"""`permafrost.json`: what a checkpoint folder holds, written last, so that its presence means the folder is complete.

This module imports no model library: other stages read manifests to compare fingerprints.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.plain import open_regular, read_regular
from pipeline.work_folder import work_folder

MANIFEST = "permafrost.json"
FORMAT_VERSION = 1
CHECKPOINTS = "checkpoints"  # below the work folder: those that an aligner had to make again
_SEAL = "manifest_sha256"  # of all other entries; earlier versions wrote none
_MOST = 1 << 24  # bytes of a manifest


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
    remedy = how_to_make_again(folder)
    try:
        content = json.loads(read_regular(path, _MOST))
    except FileNotFoundError:
        raise CheckpointError(
            f"Expected a finished checkpoint in {folder}, found no {MANIFEST} there; run: dvc repro "
            f"checkpoint@{folder.name}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON ({error}). {remedy}") from error
    expected = {field.name for field in fields(Manifest)}
    seal = content.pop(_SEAL, None) if isinstance(content, dict) else None
    version = content.get("format_version") if isinstance(content, dict) else None
    if version != FORMAT_VERSION or set(content) != expected:
        raise CheckpointError(f"{path}: expected manifest format {FORMAT_VERSION}, found {version!r}. {remedy}")
    if (seal is not None and seal != _sealed(content)) or not _consistent(content):
        raise CheckpointError(f"{path} is damaged: its entries do not match the digests in it. {remedy}")
    return Manifest(**content)


def how_to_make_again(folder: Path) -> str:
    """For a message: what to do about a damaged checkpoint."""
    if folder.resolve().parent == (work_folder() / CHECKPOINTS).resolve():
        return f"Delete that folder, and it is made again when it is needed: rm -r {folder}"
    return f"Make it again with: python -m pipeline.store repair {folder}"


def _consistent(content: Mapping[str, Any]) -> bool:
    """Whether the entries have their types, and the digest over all files is that of the digests listed."""
    files = content["files"]
    listed = isinstance(files, dict) and all(isinstance(digest, str) for digest in files.values())
    texts = all(isinstance(content[name], str) for name in ("source", "model", "loader", "modality", "architecture"))
    return (
        listed
        and texts
        and isinstance(content["preprocessing"], dict)
        and (content["weights_sha256"] == combined_digest(files))
    )


def _sealed(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def manifest_for(folder: Path, loader: str, modality: str) -> Manifest:
    """The manifest of a checkpoint folder that must be of a loader and a modality, and hold what it lists.

    Every file is read and its digest compared, each time, since a flipped bit keeps size and time of a file. That is
    0.7 s per GB where the processor computes SHA-256 itself, of what loading reads anyway.

    Raises:
        CheckpointError: as `read_manifest`, the folder is of another loader or modality, or a file is changed, missing
            or not listed.
    """
    manifest = read_manifest(folder)
    if (manifest.loader, manifest.modality) != (loader, modality):
        raise CheckpointError(
            f"{folder} holds a checkpoint for {manifest.modality}s and loader {manifest.loader}, params.yaml asks for "
            f"{modality}s and loader {loader}; run: dvc repro checkpoint@{folder.name}"
        )
    if damages := damages_of(folder, manifest):
        raise CheckpointError(
            f"{folder} does not hold what its {MANIFEST} lists, so its features would be others than their fingerprint "
            f"says. {'; '.join(damages[:5])}. {how_to_make_again(folder)}"
        )
    return manifest


def damages_of(folder: Path, manifest: Manifest) -> list[str]:
    """What of a checkpoint folder is not as its manifest lists it, a line per file; empty if it is intact.

    Raises:
        CheckpointError: as `hash_files`.
    """
    found = hash_files(folder)
    changed = [f"{name} is changed" for name in found if found[name] != manifest.files.get(name, found[name])]
    foreign = [
        f"{name} is not listed, so nothing vouches for it: move it elsewhere, or delete it"
        for name in found
        if name not in manifest.files
    ]
    return [*changed, *(f"{name!r} is missing" for name in manifest.files if name not in found), *foreign]


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest; do this last."""
    content = json.loads(json.dumps(asdict(manifest)))  # as it is read back: lists for tuples
    text = json.dumps(content | {_SEAL: _sealed(content)}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8")


def hash_files(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder except the manifest, by POSIX path, sorted.

    Raises:
        CheckpointError: something in it is neither a folder nor a regular file, or cannot be read.
    """
    names = (Path(root, name) for root, folders, files in os.walk(folder) for name in (*files, *_links(root, folders)))
    try:
        return {
            path.relative_to(folder).as_posix(): sha256(path) for path in sorted(names) if path != folder / MANIFEST
        }
    except OSError as error:
        raise CheckpointError(
            f"{folder} holds something that is not a readable file: {error}. {how_to_make_again(folder)}"
        ) from error


def _links(root: str, folders: list[str]) -> list[str]:
    """Links to folders, which `os.walk` lists and does not enter."""
    return [name for name in folders if Path(root, name).is_symlink()]


def combined_digest(files: Mapping[str, str]) -> str:
    """One SHA-256 over paths and digests, independent of times and of the order of the mapping."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
