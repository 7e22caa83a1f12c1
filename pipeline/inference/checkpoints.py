"""Finding the checkpoint of a frozen encoder, or making it again from its source."""

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.config import AnyView, EncoderSpec
from pipeline.encoders.checkpoint import materialise
from pipeline.encoders.hub import repository
from pipeline.encoders.imported import refuse_imported
from pipeline.encoders.manifest import CHECKPOINTS, MANIFEST, Manifest, read_manifest
from pipeline.encoding.identity import fingerprint_of
from pipeline.errors import CheckpointError, FingerprintMismatch
from pipeline.features.fingerprint import differing_fields
from pipeline.plain import is_folder
from pipeline.work_folder import work_folder

log = logging.getLogger(__name__)
_FRESH = "fresh"  # in a folder of its own: what a recorded model is called never becomes a path


def find_checkpoint(weights: str, encoder: EncoderSpec, folders: Sequence[Path]) -> Path | None:
    """The first finished checkpoint with these weights among the sub-folders of `folders`, or None.

    Args:
        weights: digest over the files of the checkpoint, as its manifest has it.
    """
    for parent in folders:
        for path in sorted(parent.glob(f"*/{MANIFEST}")):
            manifest = _manifest_or_none(path.parent)
            wanted = (weights, encoder.loader, encoder.modality)  # both towers of a dual encoder have the same weights
            if manifest is not None and (manifest.weights_sha256, manifest.loader, manifest.modality) == wanted:
                return path.parent
    return None


def obtain_checkpoint(
    fingerprint: dict[str, Any],
    encoder: EncoderSpec,
    view: AnyView,
    folders: Sequence[Path],
    where: str,
    *,
    trusted: Sequence[str] = (),
    project: Path = Path(),
) -> Path:
    """The checkpoint folder whose features have this fingerprint.

    It is looked for in `folders` and among those made earlier; else it is made from its recorded source, if that is a
    package or `trusted`.

    Args:
        fingerprint: as `Fingerprint.as_dict` gives it.
        where: who asks, for the message.
        trusted: repositories of the hub, and local folders, that may be read.
        project: where relative paths of local encoders start.

    Raises:
        CheckpointError: the source is not trusted, cannot be reached or is damaged; or vectors alone were imported.
        FingerprintMismatch: weights, preprocessing or this version's way of encoding are others; lists the fields.
    """
    refuse_imported(encoder, f"The {encoder.modality} side of {where}")
    weights = str(fingerprint["compared"]["weights"])
    folder = find_checkpoint(weights, encoder, folders)
    if folder is None:
        made = work_folder() / CHECKPOINTS
        folder = find_checkpoint(weights, encoder, [made])
        if folder is None:
            _require_trust(encoder, trusted, folders, where)
            folder = _make(weights, _located(encoder, project), made, folders, where)
    _require(fingerprint, fingerprint_of(read_manifest(folder), encoder, view).as_dict(), folder, where)
    return folder


def _located(encoder: EncoderSpec, project: Path) -> EncoderSpec:
    """The encoder; one that a path inside the project names gets its full path."""
    if encoder.source == "local" and is_folder(project / encoder.model):
        return encoder.model_copy(update={"model": str(project / encoder.model)})
    return encoder


def _make(weights: str, encoder: EncoderSpec, made: Path, looked: Sequence[Path], where: str) -> Path:
    """Materialise the encoder into `made`, under the digest that its files have."""
    made.mkdir(parents=True, exist_ok=True)
    log.info("%s: encoder %s is made again from its source (%s)", where, encoder.model, encoder.source)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=made))
    fresh = partial / _FRESH
    try:
        manifest = materialise(encoder, fresh)
        target = made / f"{manifest.weights_sha256}-{manifest.modality}"
        if not target.is_dir():
            os.replace(fresh, target)
        return target
    except CheckpointError as error:
        raise CheckpointError(
            f"{_needed(encoder, weights, looked, where)}; and it cannot be made again: {error} {_ELSEWHERE}"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


_ELSEWHERE = "If you have its checkpoint elsewhere, pass the folder above it as checkpoints=."


def _needed(encoder: EncoderSpec, weights: str, looked: Sequence[Path], where: str) -> str:
    return (
        f"{where} needs the encoder {encoder.model!r} (source {encoder.source}, files {weights[:12]!r}). None of these "
        f"folders holds it: {', '.join(map(str, looked))}"
    )


def _require_trust(encoder: EncoderSpec, trusted: Sequence[str], looked: Sequence[Path], where: str) -> None:
    """Check that the user named the source: the folder of an aligner may come from anybody, and may name anything.

    Asking the hub for a repository sends it the user's token; copying a folder brings its files into another one.
    """
    if encoder.source == "embedded":
        return  # one of a fixed list of packages, whose files are pinned by digest
    names = {encoder.model}
    if encoder.source == "hub":
        names |= {repository(encoder), encoder.model.removeprefix("hf-hub:")}
        what = f"the repository {repository(encoder)!r} of the Hugging Face hub has not been asked for it"
    else:
        what = f"the folder {encoder.model!r} has not been read for it"
    if not names & set(trusted):
        raise CheckpointError(
            f"{_needed(encoder, encoder.revision or 'of any revision', looked, where)}; and {what}, since only the "
            f"aligner's own config.json names it. If you trust it, say so: Aligner.from_pretrained(..., "
            f"trust=[{encoder.model!r}]). {_ELSEWHERE}"
        )


def _require(recorded: dict[str, Any], current: dict[str, Any], folder: Path, where: str) -> None:
    if recorded["digest"] != current["digest"]:
        raise FingerprintMismatch(
            f"{where} was trained on features of another encoder than {folder} gives:\n"
            f"{differing_fields(current, recorded)}\n"
            "Pass the folder above the checkpoint that it was trained with as checkpoints=, use the version of this "
            "project that trained the aligner, or train it again with: dvc repro"
        )


def _manifest_or_none(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except CheckpointError as error:
        log.warning("%s is passed over: %s", folder, error)
        return None
