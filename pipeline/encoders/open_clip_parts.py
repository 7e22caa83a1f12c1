"""What an open_clip folder needs from elsewhere: configuration and tokenizer of a text tower of transformers.

`open_clip_config.json` names such a tower as the hub does, and open_clip asks the hub whenever it builds the model. Here
its config.json lies in the checkpoint, at `text_model/`, so that nothing behind the stage `checkpoint` needs a
network. Weights of the tower are in open_clip's own file.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from pipeline.errors import CheckpointError

CONFIG = "open_clip_config.json"
TEXT_MODEL = "text_model"
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "*.model", "vocab.*", "merges.txt")


def read_config(folder: Path) -> dict[str, Any]:
    """`open_clip_config.json` of a folder.

    Raises:
        CheckpointError: there is none, it is damaged, or it wants to run code of a checkpoint.
    """
    path = folder / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        text = config["model_cfg"]["text_cfg"]
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: expected {CONFIG}, which a folder of open_clip has; transformers' own CLIP and SigLIP folders "
            "need `loader: transformers`"
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: expected a model_cfg with a text_cfg ({type(error).__name__}: {error})"
        ) from error
    if (text.get("tokenizer_kwargs") or {}).get("trust_remote_code"):
        raise CheckpointError(f"{path} asks for a tokenizer with code of its own, which is not run; remove that key")
    return config


def text_model_folder(folder: Path, text_cfg: dict[str, Any]) -> Path | None:
    """Where config.json of the text tower lies; None where open_clip builds the tower itself.

    Raises:
        CheckpointError: it is not there; the message says how to fetch it.
    """
    name = text_cfg.get("hf_model_name")
    if not name:
        return None
    if not (folder / TEXT_MODEL / "config.json").is_file():
        raise CheckpointError(
            f"{folder}: its text tower is {name} of transformers, whose config.json is expected at "
            f"{TEXT_MODEL}/config.json. Run: hf download {name} config.json --local-dir FOLDER/{TEXT_MODEL} where "
            "FOLDER is the one that `model` names"
        )
    return folder / TEXT_MODEL


def fetch_parts(folder: Path) -> None:
    """Fetch what the downloaded checkpoint in `folder` lacks of its text tower and tokenizer; no weights.

    Raises:
        CheckpointError: it cannot be fetched, or `read_config` refuses the folder.
    """
    text = read_config(folder)["model_cfg"]["text_cfg"]
    name, tokenizer = text.get("hf_model_name"), text.get("hf_tokenizer_name")
    if name and not (folder / TEXT_MODEL / "config.json").is_file():
        _fetch(name, folder / TEXT_MODEL, ("config.json",))
    if tokenizer and not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        _fetch(tokenizer, folder, _TOKENIZER)


def _fetch(name: str, target: Path, patterns: tuple[str, ...]) -> None:
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, HTTPError

    try:
        huggingface_hub.snapshot_download(name, local_dir=target, allow_patterns=list(patterns))
    except (OSError, HTTPError, HFValidationError) as error:
        raise CheckpointError(
            f"Could not fetch {', '.join(patterns)} of {name}, which the text tower needs: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
    shutil.rmtree(target / ".cache", ignore_errors=True)  # the downloader's notes hold times
