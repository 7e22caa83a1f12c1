"""Which files belong to a checkpoint: weights as safetensors, configuration and tokenizer. Never a pickle.

Loading a pickle runs whatever code it holds, so checkpoints that exist only as one are refused.
"""

import json
import re
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath

from pipeline.errors import CheckpointError

KEPT = ("*.safetensors", "*.json", "*.txt", "*.model")
SKIPPED_FOLDERS = ("onnx", "openvino", ".cache", ".git")
_PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_CONVERT = (
    'python -c "import sys, torch; from safetensors.torch import save_file; '
    "parts = [torch.load(path, map_location='cpu', weights_only=True) for path in sys.argv[2:]]; "
    "weights = {name: tensor for part in parts for name, tensor in part.get('state_dict', part).items()}; "
    "save_file({name: tensor.clone() for name, tensor in weights.items()}, sys.argv[1], metadata={'format': 'pt'})\" "
)
_SHARD = re.compile(r"-\d+-of-\d+$")


def kept_patterns(trust_remote_code: bool) -> tuple[str, ...]:
    """Glob patterns of the files that a checkpoint may hold; Python code only if the user allowed it."""
    return (*KEPT, "*.py") if trust_remote_code else KEPT


def other_weights(loader: str, names: Iterable[str]) -> list[str]:
    """Weights that only another library reads: if open_clip's own file is present, all other weights of the folder.

    Args:
        names: POSIX paths of all files of the checkpoint.
    """
    weights = [name for name in names if PurePosixPath(name).suffix == ".safetensors" and "/" not in name]
    of_open_clip = [name for name in weights if name.startswith("open_clip_")]
    return [name for name in weights if name not in of_open_clip] if loader == "open_clip" and of_open_clip else []


def copy_checkpoint(
    origin: Path, folder: Path, trust_remote_code: bool = False, left_out: Collection[str] = ()
) -> None:
    """Copy what belongs to the checkpoint in `origin` into `folder`, sub-folders included.

    Args:
        left_out: POSIX paths of files that are not needed.
    """
    for path in sorted(origin.rglob("*")):
        inside = path.relative_to(origin)
        if inside.as_posix() in left_out:
            continue
        kept = any(inside.match(pattern) for pattern in kept_patterns(trust_remote_code))
        if path.is_file() and kept and not set(inside.parts[:-1]) & set(SKIPPED_FOLDERS):
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def refuse_pickles(names: Iterable[str], where: str, first: str = "") -> None:
    """Check that the weights of every part of a checkpoint exist as safetensors.

    Args:
        names: POSIX paths of all files of the checkpoint.
        where: the folder or repository, for the message.
        first: what to do before converting, for the message.

    Raises:
        CheckpointError: there are no weights, or they exist only as a pickle; the message has a command to convert it.
    """
    paths = [path for path in map(PurePosixPath, names) if not set(path.parts) & set(SKIPPED_FOLDERS)]
    converted = {path.parent for path in paths if path.suffix == ".safetensors"}
    pickles = [path for path in paths if path.suffix in _PICKLES]
    if converted:  # beside safetensors, other pickles are leftovers of training
        pickles = [path for path in pickles if path.name == "pytorch_model.bin" and path.parent not in converted]
    if pickles:
        pickle = sorted(pickles)[0]
        parts = [pickle]
        if _SHARD.search(pickle.stem):  # one model in several files
            parts = sorted(path for path in pickles if path.parent == pickle.parent and _SHARD.search(path.stem))
        target = pickle.with_name("model.safetensors")
        raise CheckpointError(
            f"{where}: expected weights as safetensors, found only the pickle {pickle}, which could run code when "
            f"it is loaded. {first}Convert it in its folder with: {_CONVERT}{target} {' '.join(map(str, parts))}"
        )
    if not converted:
        raise CheckpointError(f"{where}: expected weights in a *.safetensors file, found none.")


def check_shards(folder: Path) -> None:
    """Check that every shard named by a safetensors index is there.

    Raises:
        CheckpointError: a shard is missing.
    """
    for index in sorted(folder.rglob("*.safetensors.index.json")):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(shard for shard in shards if not (index.parent / shard).is_file())
        if missing:
            raise CheckpointError(f"{index} names {len(shards)} shards, but these are missing: {', '.join(missing)}")
