"""What an open_clip folder needs from elsewhere: configuration and tokenizer of a text tower of transformers.

`open_clip_config.json` names such a tower as the hub does, and open_clip asks the hub whenever it builds the model.
Here its config.json is kept in the checkpoint, at `text_model/`, so that nothing after the stage `checkpoint` needs a
network. The weights of the tower are in open_clip's own file.
"""

import json
import logging
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.encoders.hub import cached_snapshot
from pipeline.encoders.named_parts import load_json
from pipeline.errors import CheckpointError
from pipeline.torchvision_fix import ensure_torchvision

_log = logging.getLogger(__name__)
CONFIG = "open_clip_config.json"
TEXT_MODEL = "text_model"
TOKENIZER = "tokenizer"
_TOKENIZER = ("*token*.json", "*.model", "vocab.*", "merges.txt", "config.json")


def import_open_clip() -> ModuleType:
    """The library, imported when it is needed.

    Raises:
        CheckpointError: it is not installed; the message has the pip command.
    """
    ensure_torchvision()
    try:
        import open_clip
    except ImportError as error:
        raise CheckpointError(
            f"loader open_clip needs the package open_clip_torch ({error}). Run: pip install -e '.[clip]' "
            "(or pip install open_clip_torch)"
        ) from error
    module: ModuleType = open_clip
    return module


def read_config(folder: Path) -> dict[str, Any]:
    """`open_clip_config.json` of a folder.

    Raises:
        CheckpointError: the file is missing or damaged, or asks to run code of a checkpoint.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: expected {CONFIG}, which a folder of open_clip has. Name a repository without one as "
            "architecture:tag (see open_clip.list_pretrained()); transformers' own CLIP and SigLIP folders need "
            "`loader: transformers`"
        )
    try:
        config: dict[str, Any] = load_json(path)
        text, vision = config["model_cfg"]["text_cfg"], config["model_cfg"].get("vision_cfg") or {}
        kwargs, backbone = text.get("tokenizer_kwargs") or {}, str(vision.get("timm_model_name", ""))
        trusting = bool(kwargs.get("trust_remote_code"))
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: expected a model_cfg with a text_cfg ({type(error).__name__}: {error})"
        ) from error
    if trusting:
        raise CheckpointError(f"{path} asks for a tokenizer with code of its own, which is not run; remove that key")
    if ":" in backbone:  # timm's way to name a repository of the hub, or a folder
        raise CheckpointError(f"{path}: timm_model_name is {backbone!r}; expected an architecture of timm itself")
    return config


def text_model_folder(folder: Path, text_cfg: dict[str, Any]) -> Path | None:
    """Where config.json of the text tower lies; None where open_clip builds the tower itself.

    Raises:
        CheckpointError: the file is missing; the message says how to fetch it.
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


def hub_name(model: str) -> tuple[str, dict[str, Any] | None]:
    """The repository that a model name means, and its configuration where the repository's own is not used.

    Args:
        model: `owner/name` of the hub, or `architecture:tag` of `open_clip.list_pretrained()`, whose configuration and
            preprocessing come from open_clip itself.

    Raises:
        CheckpointError: open_clip knows no such tag, offers it elsewhere than on the hub, or another activation was
            trained than the architecture has.
    """
    architecture, colon, tag = model.removeprefix("hf-hub:").partition(":")
    if not colon:
        return model, None
    library = import_open_clip()
    pretrained, config = library.get_pretrained_cfg(architecture, tag), library.get_model_config(architecture)
    if not pretrained or config is None:
        tags = ", ".join(library.list_pretrained_tags_by_model(architecture)) or "none; see open_clip.list_models()"
        raise CheckpointError(f"open_clip has no weights {tag!r} of {architecture!r}; it has: {tags}")
    if not pretrained.get("hf_hub"):
        raise CheckpointError(f"open_clip offers {model} only as a pickle; name another, or a folder of yours")
    if bool(pretrained.get("quick_gelu")) != bool(config.get("quick_gelu")):
        other = architecture.removesuffix("-quickgelu") if config.get("quick_gelu") else f"{architecture}-quickgelu"
        raise CheckpointError(f"{model}: these weights were trained with the other GELU; write {other}:{tag}")
    kept = {key: pretrained[key] for key in ("mean", "std", "interpolation", "resize_mode") if pretrained.get(key)}
    return "/".join(pretrained["hf_hub"].split("/")[:2]), {"model_cfg": config, "preprocess_cfg": kept}


def fetch_parts(folder: Path, repository: str, config: dict[str, Any] | None) -> None:
    """Fetch what the downloaded checkpoint in `folder` lacks of its text tower and tokenizer; no weights.

    Args:
        repository: where the checkpoint is from.
        config: what `open_clip_config.json` is to hold; None for what was downloaded.

    Raises:
        CheckpointError: it cannot be fetched, or `read_config` refuses the folder.
    """
    if config is not None:
        (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    text = read_config(folder)["model_cfg"]["text_cfg"]
    name, tokenizer = text.get("hf_model_name"), text.get("hf_tokenizer_name")
    if name and not (folder / TEXT_MODEL / "config.json").is_file():
        _fetch(name, folder / TEXT_MODEL, ("config.json",))
    if tokenizer and tokenizer != repository.removeprefix("hf-hub:"):  # it is what open_clip itself would take
        _fetch(tokenizer, folder / TOKENIZER, _TOKENIZER)


def _fetch(name: str, target: Path, patterns: tuple[str, ...]) -> None:
    """Fetch some files of a repository that the checkpoint names, not the user: without the user's token."""
    import huggingface_hub
    from huggingface_hub.errors import HFValidationError, HTTPError

    _log.info("%s: %s of %s are fetched, which its configuration names", target.parent, ", ".join(patterns), name)
    try:
        huggingface_hub.snapshot_download(name, local_dir=target, allow_patterns=list(patterns), token=False)
    except (OSError, HTTPError, HFValidationError) as error:
        cached = cached_snapshot(name, None)
        found = [path for p in patterns for path in (cached.glob(p) if cached else ()) if path.is_file()]
        if found:
            target.mkdir(parents=True, exist_ok=True)
            for path in found:
                shutil.copyfile(path, target / path.name)
            return
        raise CheckpointError(
            f"Could not fetch {', '.join(patterns)} of {name}, which the text tower needs: {type(error).__name__}: "
            f"{' '.join(str(error).split())[:300]}. It was asked for without your token, since you did not name it; "
            f"if it is gated or private, fetch it into the cache: hf download {name} {' '.join(patterns)}"
        ) from error
    shutil.rmtree(target / ".cache", ignore_errors=True)  # it holds time stamps
