"""Several text towers in the folder of one aligner, and whether two aligners make the same vectors of pictures.

config.json, repeat_0/...              the aligner itself
text/towers.json                       names, and whether a tower has the aligner's vectors of pictures
text/<name>/config.json, repeat_0/...  an aligner of the same image view with another text encoder
"""

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pipeline.alignment import HeadConfig, ProjectionHeads
from pipeline.alignment.head_config import CONFIG_FILE, SPACE_FOLDER
from pipeline.alignment.saved import heads_path
from pipeline.errors import DataError, FingerprintMismatch, ModelError
from pipeline.features.fingerprint import differing_fields
from pipeline.files import write_json
from pipeline.inference.markdown import table
from pipeline.plain import read_regular

TEXTS, TOWERS_FILE = "text", "towers.json"
_HEAD = ["name", "aligner", "text encoder", "vectors of pictures"]
_SECTION = re.compile(r"\n## Text towers\n.*?(?=\n## |\Z)", flags=re.S)
Images = Literal["shared", "own"]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")
_MOST = 1 << 20  # bytes of towers.json
_PROBES = 64  # rows of made-up features
_TOKENS = {"none": 0, "mean": 1}  # local tokens of a made-up picture, by what the heads read; else:
_SOME = 4
SHARING = (
    "An image side that does not depend on the texts is that of head closed-form whose forms are all ridge or "
    "kernel-ridge with `direction: text-to-image`, fitted to the same data and splits (docs/aligner.md)."
)


def towers_of(folder: Path) -> dict[str, Images]:
    """The text towers of a folder beside its own, by name: whether they have its vectors of pictures.

    Raises:
        ModelError: the list is damaged.
    """
    path = folder / TEXTS / TOWERS_FILE
    if not path.is_file():
        return {}
    try:
        listed = json.loads(read_regular(path, _MOST))
        if not all(_NAME.fullmatch(name) and images in ("shared", "own") for name, images in listed.items()):
            raise ValueError("a name or a value is none of ours")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError(f"{path} is damaged ({error}). Save the aligner again, or fetch it again.") from error
    found: dict[str, Images] = listed
    return found


def main_folder(folder: Path) -> Path:
    """The folder of an aligner that one of its text towers lies in; the folder itself where it is no such tower."""
    above = folder.parent
    return above.parent if above.name == TEXTS and (above / TOWERS_FILE).is_file() else folder


def tower_folder(folder: Path, text: str) -> Path:
    """The folder of a text tower, whose vectors of pictures are checked to be what the list says.

    Raises:
        ModelError: there is no such tower, or it has other vectors of pictures than was recorded.
    """
    towers = towers_of(folder)
    if text not in towers:
        raise ModelError(f"{folder} has no text tower {text!r}; it has {', '.join(towers) or 'its own alone'}.")
    out = folder / TEXTS / text
    if towers[text] == "shared" and (reason := other_images(folder, out)):
        raise ModelError(f"{out} is not what {TOWERS_FILE} says: {reason}. Save the aligner again, or fetch it again.")
    return out


def other_images(one: Path, other: Path) -> str | None:
    """Why two aligners make other vectors of the same pictures; None where they make the same, bit by bit.

    Compared are fingerprints, all weights of the image side of every repeat, and what both make of made-up features.

    Raises:
        ModelError: as `ProjectionHeads.from_folder`.
    """
    mine, theirs = HeadConfig.read(one), HeadConfig.read(other)
    if mine.fingerprints["image"]["digest"] != theirs.fingerprints["image"]["digest"]:
        return (
            f"their image views differ:\n{differing_fields(theirs.fingerprints['image'], mine.fingerprints['image'])}"
        )
    for key in ("embed_dim", "local_tokens", "layers", "repeats"):
        if getattr(mine, key) != getattr(theirs, key):
            return f"{key} is {getattr(theirs, key)} and not {getattr(mine, key)}"
    identity = "identity" in (mine.kind, theirs.kind)
    for repeat in range(1 if identity else mine.repeats):
        if not identity and not (heads_path(one, repeat).is_file() and heads_path(other, repeat).is_file()):
            continue  # an aligner may be kept with some of its repeats
        if not same_images(ProjectionHeads.from_folder(one, repeat), ProjectionHeads.from_folder(other, repeat)):
            return f"the image sides of their heads (repeat {repeat}) are fitted to other values"
    return None


def require_same_view(mine: HeadConfig, theirs: HeadConfig, what: str) -> None:
    """Check that two aligners take the same image features.

    Raises:
        FingerprintMismatch: lists the fields in which their image views differ.
    """
    own, other = mine.fingerprints["image"], theirs.fingerprints["image"]
    if own["digest"] != other["digest"]:
        raise FingerprintMismatch(
            f"{what} has another image view than aligner {mine.aligner!r}:\n{differing_fields(other, own)}\n"
            "Only a text tower that was aligned to the same image features can take its place."
        )


def same_images(one: ProjectionHeads, other: ProjectionHeads) -> bool:
    """Whether two heads of one image view make the same vectors of it, bit by bit."""
    mine, theirs = (_image_weights(heads) for heads in (one, other))
    if mine.keys() != theirs.keys() or not all(torch.equal(mine[name], theirs[name]) for name in mine):
        return False
    draws = np.random.default_rng(0)
    width, tokens = one.config.widths["image"], _TOKENS.get(one.config.local_tokens, _SOME)
    cls = draws.normal(size=(_PROBES, width)).astype(np.float32)
    local = draws.normal(size=(_PROBES, tokens, width)).astype(np.float32)
    return np.array_equal(one.embed_image(cls, local), other.embed_image(cls, local), equal_nan=True)


def _image_weights(heads: ProjectionHeads) -> dict[str, torch.Tensor]:
    """Weights by name but for the text side's, whose modules are called text..., and the temperature's."""
    return {
        name: value.cpu()
        for name, value in heads.head.state_dict().items()
        if not any(part.startswith(("text", "logit_")) for part in name.split("."))
    }


def joined_towers(folder: Path, others: Mapping[str, Path], own_image_heads: bool) -> dict[str, tuple[Path, Images]]:
    """The text towers of a folder and those that join them, by name: the folder of each, and whose vectors it has.

    Args:
        others: folders of aligners by the name that each gets.
        own_image_heads: whether one may join that makes other vectors of pictures.

    Raises:
        DataError: a name that is no name.
        FingerprintMismatch: one of another image view, or whose vectors of pictures are other ones unless they may be.
    """
    towers = {name: (folder / TEXTS / name, images) for name, images in towers_of(folder).items()}
    for name, source in others.items():
        if not _NAME.fullmatch(name):
            raise DataError(f"Expected letters, digits, dots and dashes as the name of a text tower, found {name!r}.")
        require_same_view(HeadConfig.read(folder), HeadConfig.read(source), f"Text tower {name!r} ({source})")
        reason = other_images(folder, source)
        if reason and not own_image_heads:
            raise FingerprintMismatch(
                f"Text tower {name!r} ({source}) makes other vectors of pictures: {reason}. {SHARING} With "
                "own_image_heads=True it joins all the same: then vectors of pictures are of one tower each."
            )
        towers[name] = source, "own" if reason else "shared"
    return towers


def write_towers(towers: Mapping[str, tuple[Path, Images]], out: Path) -> None:
    """Copy text towers into the folder of a saved aligner, in place of those that it has."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".text-") as partial:
        made = Path(partial) / TEXTS  # first, for a tower may come from the folder that is replaced
        for name, (source, _) in towers.items():
            copy_heads(source, made / name)
            shutil.copyfile(source / CONFIG_FILE, made / name / CONFIG_FILE)
        shutil.rmtree(out / TEXTS, ignore_errors=True)
        if towers:
            write_json({name: images for name, (_, images) in towers.items()}, made / TOWERS_FILE)
            shutil.move(made, out / TEXTS)


def card_with_towers(card: str, towers: Mapping[str, tuple[Path, Images]]) -> str:
    """The text of a model card with a section of text towers at its end, in place of one that it has."""
    without = _SECTION.sub("", card)
    if not towers:
        return without
    rows = []
    for name, (source, images) in sorted(towers.items()):
        config = HeadConfig.read(source)
        models = [str(one["described"].get("model")) for one in config.members("text").values()]
        rows.append([name, config.aligner, " + ".join(models), images])
    return (
        f"{without.rstrip()}\n\n## Text towers\nLoad one with `from_pretrained(..., text=NAME)`. Those that are "
        f"`shared` have the vectors of pictures of this aligner.\n{table(_HEAD, rows)}\n"
    )


def copy_heads(source: Path, out: Path) -> None:
    """Copy the weights of all repeats that are there.

    Raises:
        ModelError: there are none, though the head has some.
    """
    config = HeadConfig.read(source)
    found = [repeat for repeat in range(config.repeats) if heads_path(source, repeat).is_file()]
    if not found and config.kind != "identity":
        raise ModelError(f"{source} holds no heads. Load the aligner again.")
    out.mkdir(parents=True, exist_ok=True)
    if config.space:  # the aligner that it was added to goes along, byte for byte
        copy_heads(source / SPACE_FOLDER, out / SPACE_FOLDER)
        shutil.copyfile(source / SPACE_FOLDER / CONFIG_FILE, out / SPACE_FOLDER / CONFIG_FILE)
    for repeat in found:
        heads_path(out, repeat).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(heads_path(source, repeat), heads_path(out, repeat))
