"""What the configuration of a checkpoint names: files, modules and code, which libraries would follow anywhere."""

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.errors import CheckpointError
from pipeline.plain import read_regular

_MOST = 1 << 28  # bytes of a JSON file


def check_names(folder: Path, loader: str, trust_remote_code: bool = False) -> None:
    """Check what the configuration in a checkpoint names: parts inside of the folder, and no code unless allowed.

    A library would follow such a name anywhere: to shards and modules by paths, to classes by import.

    Raises:
        CheckpointError: a shard is missing, a name leads out of the folder, or code is asked for.
    """
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        named = _mapping(index).get("weight_map")
        shards = sorted({str(shard) for shard in named.values()}) if isinstance(named, dict) else []
        _require_plain_names(shards, index)
        missing = [shard for shard in shards if not (index.parent / shard).is_file()]
        if missing or not shards:
            raise CheckpointError(
                f"{index} names {len(shards)} shards, but these are missing: {', '.join(missing) or 'all'}"
            )
    if loader == "sentence-transformers" and (folder / "modules.json").is_file():
        _check_modules(folder, trust_remote_code)
    if loader == "open_clip":  # cannot be told what to trust
        for path in sorted(folder.rglob("*.json")):
            content = load_json(path)
            if isinstance(content, dict) and "auto_map" in content:
                raise CheckpointError(f"{path} asks for code of its own (auto_map), which is not run; remove that key")


def _check_modules(folder: Path, trust_remote_code: bool) -> None:
    """Check the parts of a sentence-transformers folder: those listed, and those of routers among them."""
    for path in sorted([folder / "modules.json", *folder.rglob("router_config.json")]):
        content = load_json(path)
        listed = content if isinstance(content, list) else [content]
        modules = [module for module in listed if isinstance(module, dict)]
        named = [str(module.get("path", "")) for module in modules]
        types = [str(module["type"]) for module in modules if "type" in module]
        for module in modules:
            if isinstance(module.get("types"), dict):  # of a router: path -> class
                named += list(module["types"])
                types += map(str, module["types"].values())
        _require_plain_names([name for name in named if name], path)
        foreign = [name for name in types if not name.startswith("sentence_transformers.")]
        if foreign and not trust_remote_code:
            raise CheckpointError(
                f"{path} names {foreign[0]!r}, which is no part of sentence-transformers; importing it may run any "
                "code. Set trust_remote_code if you trust it."
            )


def _require_plain_names(names: Iterable[str], where: Path) -> None:
    for name in names:
        path = PurePosixPath(name)
        if "\0" in name or path.is_absolute() or ".." in path.parts:
            raise CheckpointError(f"{where} names {name!r}, which leads out of its folder; such a model is not loaded.")


def _mapping(path: Path) -> dict[str, Any]:
    content = load_json(path)
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected a mapping, found {type(content).__name__}.")
    return content


def load_json(path: Path) -> Any:
    """The content of a JSON file of a checkpoint.

    Raises:
        CheckpointError: it cannot be read, is no JSON, too large or nested too deeply.
    """
    try:
        return json.loads(read_regular(path, _MOST))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read as JSON: {type(error).__name__}: {str(error)[:200]}") from error
