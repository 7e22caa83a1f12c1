"""Checkpoints from the Hugging Face hub: one commit, no pickles, nothing loaded."""

import errno
import logging
import re
import shutil
from pathlib import Path

from pipeline.config import EncoderSpec
from pipeline.encoders.files import SKIPPED_FOLDERS, kept_patterns, other_weights, refuse_pickles
from pipeline.errors import CheckpointError

_log = logging.getLogger(__name__)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def repository(spec: EncoderSpec) -> str:
    """The repository that a model name means: `hf-hub:` is dropped, a bare timm name is under `timm/`."""
    name = re.sub(r"^hf[-_]hub:", "", spec.model)
    return f"timm/{name}" if spec.loader == "timm" and "/" not in name else name


def download(spec: EncoderSpec, folder: Path) -> str:
    """Download a checkpoint into `folder`.

    A revision that is not a commit (None, a branch, a tag) is resolved to the commit it stands for now.

    Returns:
        The commit that was downloaded.

    Raises:
        CheckpointError: no network, no such repository or revision, a gated one, a full disk, or weights that exist
            only as a pickle.
    """
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, HTTPError  # HTTPError is that of its HTTP client

    name = repository(spec)
    try:
        commit = _resolve(name, spec.revision)
        names = huggingface_hub.HfApi().list_repo_files(name, revision=commit)
        by_hand = f"Run: hf download {name} --revision {commit} --local-dir FOLDER; name FOLDER with `source: local`. "
        refuse_pickles(names, f"{name}@{commit}", by_hand)
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
        f"{start}no answer from it ({reason}). Check the network and HF_HUB_OFFLINE. Without a network: fetch the "
        "folder elsewhere, and name it with `source: local`."
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
