"""Turns an entry of `encoders` in params.yaml into a complete local checkpoint folder in its library's own format."""

import shutil
from pathlib import Path

from pipeline.config import EncoderSpec
from pipeline.config.further import FURTHER
from pipeline.encoders.config_files import sound_config
from pipeline.encoders.dual import is_dual
from pipeline.encoders.files import copy_checkpoint, other_weights, refuse_pickles
from pipeline.encoders.further import towers
from pipeline.encoders.imported import IMPORTED, describe_imported, write_imported
from pipeline.encoders.manifest import (
    FORMAT_VERSION,
    Description,
    Manifest,
    combined_digest,
    hash_files,
    read_manifest,
    write_manifest,
)
from pipeline.encoders.named_parts import check_names
from pipeline.errors import CheckpointError
from pipeline.plain import is_folder

__all__ = ["Manifest", "materialise", "read_manifest"]


def materialise(spec: EncoderSpec, folder: Path) -> Manifest:
    """Write the checkpoint of `spec` into `folder`, replacing what is there, and its manifest last.

    Args:
        spec: source `embedded` (converted from an installed package), `hub` (downloaded), `local` (copied) or
            `imported` (vectors of another program, copied).
        folder: the target; the same entry always gives the same bytes.

    Raises:
        CheckpointError: the source is missing, damaged, only a pickle, or not a model that its loader can describe.
    """
    origin = Path(spec.model).expanduser()
    if spec.source == "local":
        _check_local(origin, folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    revision: str | None = None
    if spec.source == "hub":
        from pipeline.encoders.hub import download

        if spec.loader == "open_clip":
            from pipeline.encoders.open_clip_parts import fetch_parts, hub_name

            repository, config = hub_name(spec.model)
            revision = download(spec.model_copy(update={"model": repository}), folder)
            fetch_parts(folder, repository, config)
        else:
            revision = download(spec, folder)
    elif spec.source == IMPORTED:
        write_imported(spec, folder)
    elif spec.source == "local":
        left_out = other_weights(spec.loader, (path.relative_to(origin).as_posix() for path in origin.rglob("*")))
        copy_checkpoint(origin, folder, spec.trust_remote_code, left_out)
    else:
        from pipeline.encoders.embedded import convert

        revision = convert(spec, folder)
    if spec.loader != IMPORTED:
        check_names(folder, spec.loader, spec.trust_remote_code)
    description = _describe(spec, folder)
    files = hash_files(folder)
    manifest = Manifest(
        **vars(description),
        format_version=FORMAT_VERSION,
        source=spec.source,
        model=spec.model,
        loader=spec.loader,
        modality=spec.modality,
        requested_revision=spec.revision,
        resolved_revision=revision,
        files=files,
        weights_sha256=combined_digest(files),
    )
    write_manifest(folder, manifest)
    return manifest


def _check_local(origin: Path, folder: Path) -> None:
    if not is_folder(origin):
        raise CheckpointError(
            f"encoders.{folder.name}.model names the folder {origin}, which does not exist (looked from {Path.cwd()}); "
            "correct the path in params.yaml."
        )
    source, target = origin.resolve(), folder.resolve()
    if source == target or target in source.parents or source in target.parents:
        raise CheckpointError(
            f"encoders.{folder.name}.model is {origin}, and the checkpoint is written to {folder}, which would "
            "overwrite it; move the model to a folder of its own."
        )
    refuse_pickles((path.relative_to(origin).as_posix() for path in origin.rglob("*") if path.is_file()), str(origin))


def _describe(spec: EncoderSpec, folder: Path) -> Description:
    with sound_config(folder):
        return _described(spec, folder)


def _described(spec: EncoderSpec, folder: Path) -> Description:
    if spec.loader == IMPORTED:
        return describe_imported(folder)
    if spec.loader == "timm":
        from pipeline.encoders.timm_tower import describe_timm

        return describe_timm(folder)
    if spec.loader == "sentence-transformers":
        from pipeline.encoders.sentence_text import describe_sentence

        return describe_sentence(folder, spec.trust_remote_code)
    if spec.loader == "open_clip":
        from pipeline.encoders.open_clip_dual import describe_open_clip

        return describe_open_clip(folder, spec.modality)
    if spec.modality in FURTHER:
        return towers(spec.modality).describe(folder, spec)
    if is_dual(folder, spec):
        from pipeline.encoders.transformers_dual import describe_dual

        return describe_dual(folder, spec)
    if spec.modality == "image":
        from pipeline.encoders.transformers_tower import describe_tower

        return describe_tower(folder)
    from pipeline.encoders.transformers_text import describe_text

    return describe_text(folder, spec.trust_remote_code)
