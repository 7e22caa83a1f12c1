"""Which files belong to a checkpoint: weights as safetensors, configuration and tokenizer. Never a pickle.

Loading a pickle runs whatever code it holds, so checkpoints that exist only as one are refused. Only regular files are
copied, and none that a link brings in from elsewhere.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pipeline.errors import CheckpointError
from pipeline.plain import open_regular

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
_PIECE = 8 << 20
_MOST_HEADER = 100 << 20  # bytes; the limit of safetensors itself
_MOST_OTHER = 1 << 30  # bytes of a file that holds no weights; vocabularies of a million words have 50 MB


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

    Raises:
        CheckpointError: a file is a link to somewhere else, no regular file, of another size than its header says, too
            large, cannot be read, or does not fit on the disk.
    """
    wanted = []
    for path in sorted(origin.rglob("*")):
        inside = path.relative_to(origin)
        kept = any(inside.match(pattern) for pattern in kept_patterns(trust_remote_code))
        skipped = inside.as_posix() in left_out or set(inside.parts[:-1]) & set(SKIPPED_FOLDERS)
        if kept and not skipped and not (path.is_dir() and not path.is_symlink()):
            wanted.append(inside)
    try:
        for inside in wanted:
            _require_inside(origin, inside)
        sizes = {inside: _size(origin / inside) for inside in wanted}
        if (needed := sum(sizes.values())) > (free := shutil.disk_usage(folder).free):
            wanted_room = f"{needed / 1e6:.1f} MB are to be copied, {free / 1e6:.1f} MB are free"
            raise OSError(errno.ENOSPC, wanted_room, str(folder))
        for inside, size in sizes.items():
            (folder / inside).parent.mkdir(parents=True, exist_ok=True)
            _copy(origin / inside, folder / inside, size)
    except OSError as error:
        raise CheckpointError(f"{origin} cannot be copied to {folder}: {error}") from error


def _require_inside(origin: Path, inside: Path) -> None:
    """Check that a file lies in the folder named, whatever links there are on the way.

    The cache of Hugging Face keeps files as links into `blobs`, beside the folder of their commit.
    """
    allowed = [origin.resolve()]
    if origin.resolve().parent.name == "snapshots":
        allowed.append(origin.resolve().parents[1] / "blobs")
    found = Path(os.path.realpath(origin / inside))
    if not any(found.is_relative_to(folder) for folder in allowed):
        raise CheckpointError(
            f"{origin / inside} is a link to {found}, outside of the folder that is named as a model. If you want that "
            f"file in it, make a copy without links and name that: cp -rL {origin} FOLDER"
        )


def _size(path: Path) -> int:
    """Bytes of a regular file, within reason: a file with holes may claim any size."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix != ".safetensors":
            if size > _MOST_OTHER:
                raise CheckpointError(
                    f"{path} has {size:,} bytes; files of a model other than its weights have at most {_MOST_OTHER:,}."
                )
            return size
        expected = _size_by_header(file.read(8), file)
    if expected != size:
        raise CheckpointError(
            f"{path} has {size:,} bytes, which does not fit its header "
            f"({'no header of safetensors' if expected is None else f'{expected:,} bytes'}); fetch it again."
        )
    return size


def _size_by_header(start: bytes, file: BinaryIO) -> int | None:
    """The size of a safetensors file: 8 bytes for the length of its header, the header, and all tensors."""
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > _MOST_HEADER:
        return None
    try:
        tensors = [value for name, value in json.loads(file.read(length)).items() if name != "__metadata__"]
        return 8 + length + max((int(tensor["data_offsets"][1]) for tensor in tensors), default=0)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def _copy(source: Path, target: Path, size: int) -> None:
    with open_regular(source) as read, open(target, "xb") as write:
        while size and (piece := read.read(min(_PIECE, size))):
            write.write(piece)
            size -= len(piece)
        if size:
            raise OSError(errno.EIO, "the file became shorter while it was copied", str(source))


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
