"""Checkpoints from the Hugging Face hub: one commit, no pickles, nothing loaded."""

import errno
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pipeline.config import EncoderSpec
from pipeline.encoders.files import SKIPPED_FOLDERS, copy_checkpoint, kept_patterns, other_weights, refuse_pickles
from pipeline.errors import CheckpointError

_log = logging.getLogger(__name__)
_EVIDENCE = ("config.json", "modules.json", "model.safetensors", "open_clip_config.json", "tokenizer.json")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def repository(spec: EncoderSpec) -> str:
    """The repository that a model name means: `hf-hub:` is dropped, a bare timm name is under `timm/`."""
    name = re.sub(r"^hf[-_]hub:", "", spec.model)
    return f"timm/{name}" if spec.loader == "timm" and "/" not in name else name


def download(spec: EncoderSpec, folder: Path) -> str:
    """Download a checkpoint into `folder`.

    A revision that is not a commit (None, a branch, a tag) is resolved to the commit it stands for now. Files that the
    cache of Hugging Face holds are copied from there; where the hub does not answer, as on a machine without a network
    or under HF_HUB_OFFLINE, the commit that the cache has for the revision is taken.

    Returns:
        The commit that was downloaded.

    Raises:
        CheckpointError: no network and nothing in the cache, no such repository or revision, a gated one, a full disk,
            or weights that exist only as a pickle.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, HTTPError  # HTTPError is that of its HTTP client

    name = repository(spec)
    try:
        commit = _resolve(name, spec.revision)
        names = huggingface_hub.HfApi().list_repo_files(name, revision=commit)
    except (OSError, HTTPError, HFValidationError) as error:
        cached = cached_snapshot(name, spec.revision) if _no_answer(error) else None
        if cached is None:
            raise CheckpointError(_explanation(name, spec.revision, error)) from error
        return _copied(spec, name, cached, folder)
    try:
        by_hand = f"Run: hf download {name} --revision {commit} --local-dir FOLDER; name FOLDER with `source: local`. "
        refuse_pickles(names, f"{name}@{commit}", by_hand)
        cached = cached_snapshot(name, commit)
        if cached is not None and all((cached / wanted).is_file() for wanted in _wanted(spec, names)):
            copy_checkpoint(cached, folder, spec.trust_remote_code, other_weights(spec.loader, names))
            return commit
        huggingface_hub.snapshot_download(
            name,
            revision=commit,
            local_dir=folder,
            allow_patterns=list(kept_patterns(spec.trust_remote_code)),
            ignore_patterns=[*(f"{skipped}/*" for skipped in SKIPPED_FOLDERS), *other_weights(spec.loader, names)],
        )
    except (OSError, HTTPError, HFValidationError) as error:
        raise CheckpointError(_explanation(name, spec.revision, error)) from error
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # it holds time stamps
    return commit


def cached_snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of a repository's commit in the cache of Hugging Face, or None; some of its files may be missing.

    Args:
        revision: a commit, or a branch or tag as it stood when it was fetched last.
    """
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = [try_to_load_from_cache(name, file, revision=revision) for file in _EVIDENCE]
    except HFValidationError:
        return None
    return next((Path(path).parent for path in found if isinstance(path, str)), None)


def _copied(spec: EncoderSpec, name: str, cached: Path, folder: Path) -> str:
    """Copy what a snapshot of the cache holds of the checkpoint; its commit."""
    names = [path.relative_to(cached).as_posix() for path in cached.rglob("*") if path.is_file()]
    again = f"The hub does not answer, so it is taken from the cache, {cached}. "
    complete = f"Complete it where there is a network: hf download {name} --revision {cached.name}. "
    refuse_pickles(names, f"{name}@{cached.name}", again + complete)
    if spec.loader != "open_clip" and not any((cached / file).is_file() for file in ("config.json", "modules.json")):
        raise CheckpointError(f"{name}@{cached.name} has no config.json. {again}{complete}")
    copy_checkpoint(cached, folder, spec.trust_remote_code, other_weights(spec.loader, names))
    _log.warning(f"{name}: {again}It holds {len(names)} files; if others belong to the commit: {complete}")
    return cached.name


def _wanted(spec: EncoderSpec, names: Sequence[str]) -> list[str]:
    """Which files of a repository belong to the checkpoint."""
    left_out = other_weights(spec.loader, names)
    paths = [PurePosixPath(name) for name in names if name not in left_out]
    patterns = kept_patterns(spec.trust_remote_code)
    return [
        str(path)
        for path in paths
        if any(path.match(p) for p in patterns) and not set(path.parts[:-1]) & set(SKIPPED_FOLDERS)
    ]


def _no_answer(error: Exception) -> bool:
    """Whether the hub could not be asked, rather than refused."""
    from huggingface_hub import errors

    refused = (errors.GatedRepoError, errors.RevisionNotFoundError, errors.RepositoryNotFoundError)
    return not isinstance(error, (*refused, errors.HFValidationError))


def _explanation(name: str, revision: str | None, error: Exception) -> str:
    """What went wrong while fetching a repository, and what to do about it."""
    from huggingface_hub import errors

    start = f"Could not fetch {name} (revision {revision or 'null'}) from the Hugging Face hub: "
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{start}it is gated. Accept its terms at https://huggingface.co/{name} with your account, then run "
            "`hf auth login` here, or set HF_TOKEN."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{start}it has no such revision. Write a commit, a branch or a tag that its page lists."
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return (
            f"{start}there is no such model, or it is private. Correct `model` in params.yaml; for a private one, run "
            "`hf auth login`."
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{start}the disk is full ({error}). Free some space."
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return (
        f"{start}no answer from it ({reason}), and the cache does not hold it. Check the network and HF_HUB_OFFLINE. "
        f"Without a network: fetch it into the cache first (hf download {name}), or fetch the folder elsewhere, and "
        "name it with `source: local`."
    )


def _resolve(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    if revision and _COMMIT.fullmatch(revision):
        return revision
    commit = str(HfApi().model_info(name, revision=revision).sha)
    _log.warning(
        f"{name}: revision {revision or 'null'} is commit {commit} today; write `revision: {commit}` to keep it."
    )
    return commit
