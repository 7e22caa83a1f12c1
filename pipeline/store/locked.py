"""What dvc.lock says about the outputs that dvc.yaml and params.yaml still name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.dvc_lock import locked_stages
from pipeline.errors import ConfigError, StoreError
from pipeline.reporting.dag import UNKNOWN, Parts, expand
from pipeline.store.listing import ROOT, stores

_PROJECT = "dvc.yaml"


@dataclass(frozen=True)
class Output:
    """An output of a stage, as it was when DVC last saw the stage succeed.

    Attributes:
        md5: of the file; of a folder, of the list of its files, with `.dir` behind it.
        rank: the place of its stage in dvc.yaml, where a stage stands behind those whose outputs it reads.
    """

    stage: str
    path: Path
    md5: str
    rank: int = 0


def require_project() -> None:
    """Check that the working directory is the root of a project.

    Raises:
        StoreError: it has no dvc.yaml; the message says where to run the command.
    """
    if Path(_PROJECT).is_file():
        return
    above = [folder for folder in Path.cwd().parents if (folder / _PROJECT).is_file()]
    where = f"cd {above[0]}" if above else "cd to the folder that holds dvc.yaml and params.yaml"
    raise StoreError(f"{Path.cwd()} holds no {_PROJECT}, so it is not the root of a project. First: {where}")


def locked_outputs() -> list[Output]:
    """The outputs in dvc.lock, in the order of dvc.yaml, less those that dvc.yaml and params.yaml no longer name.

    DVC never takes a stage out of dvc.lock. Left out are also outputs that a DVC before 3.0 recorded, whose digest is
    of another kind.

    Raises:
        DamagedLock: dvc.lock cannot be used.
        ConfigError: dvc.yaml or params.yaml is not valid YAML.
    """
    declared = _declared()
    found = [
        Output(stage, Path(out["path"]), str(out["md5"]), rank)
        for stage, entry in locked_stages().items()
        for out in entry.get("outs", [])
        if out.get("hash") == "md5" and "md5" in out
        if (rank := _rank(Path(out["path"]).parts, declared)) is not None
    ]
    return sorted(found, key=lambda output: output.rank)


def is_store(path: Path) -> bool:
    """Whether an output is a feature store, by its place."""
    return path.is_relative_to(ROOT)


def locked_stores() -> list[Output]:
    """The feature stores among `locked_outputs`."""
    return [out for out in locked_outputs() if is_store(out.path)]


def all_stores() -> list[Path]:
    """The folders of all stores that are here or that dvc.lock lists, in order."""
    return sorted({*stores(), *(out.path for out in locked_stores())})


def _declared() -> list[tuple[int, Parts]]:
    """The paths of all outputs, with the place of their stage in dvc.yaml."""
    groups = expand(_read(Path(_PROJECT)), _read(Path("params.yaml")))
    return [(rank, out) for rank, group in enumerate(groups) for out in group.outs]


def _rank(parts: Parts, declared: list[tuple[int, Parts]]) -> int | None:
    for rank, out in declared:
        if len(out) == len(parts) and all(
            one == other or UNKNOWN in other for one, other in zip(parts, out, strict=True)
        ):
            return rank
    return None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content or {}, dict):
        raise ConfigError(f"{path} should hold named sections; it holds a {type(content).__name__}.")
    return content or {}
