"""From the name of an aligner to its local folder."""

import re
from pathlib import Path
from typing import Any

from pipeline.errors import ModelError
from pipeline.user_path import user_path

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HEADS = ["config.json", "repeat_*/heads.safetensors"]
_FILES = [*_HEADS, "text/towers.json", *(f"{place}/{file}" for place in ("text/*", "space") for file in _HEADS)]


def aligner_folder(name: str | Path, revision: str | None = None, **hub: Any) -> Path:
    """The folder of an aligner: `name` where it is a local folder, else its copy fetched from the Hugging Face hub.

    Of a hub repository only config.json and the heads are fetched; nothing that could run code is.

    Args:
        hub: token, cache_dir and local_files_only, as `huggingface_hub.snapshot_download` takes them.

    Raises:
        ModelError: no such folder, no such repository or revision, or no network.
    """
    folder = user_path(name, "the folder of a trained aligner or a Hugging Face name (owner/name)", ModelError)
    if folder.is_dir():
        if revision is not None:
            raise ModelError(f"{folder} is a local folder and has no revisions; leave out revision={revision!r}.")
        return folder
    if not isinstance(name, str) or not _HUB_NAME.fullmatch(name):
        raise ModelError(
            f"Expected the folder of a trained aligner or a Hugging Face name (owner/name), found {str(name)!r}, and "
            f"there is no such folder (looked from {Path.cwd()}). Train the default with: dvc repro train@default"
        )
    return _fetch(name, revision, {key: value for key, value in hub.items() if value})


def _fetch(name: str, revision: str | None, hub: dict[str, Any]) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, HTTPError  # the latter of the HTTP client it is built on

    try:
        return Path(huggingface_hub.snapshot_download(name, revision=revision, allow_patterns=_FILES, **hub))
    except (OSError, HTTPError, HFValidationError) as error:
        raise ModelError(
            f"There is no local folder {name!r} (looked from {Path.cwd()}), and {name} (revision {revision or 'null'}) "
            f"could not be fetched from the Hugging Face hub: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}. Check the name, the network and HF_HUB_OFFLINE; for a private "
            "repository, `hf auth login`."
        ) from error
