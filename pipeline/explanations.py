"""What errors of the system and of libraries mean, and what helps: full disks, short memory, damaged files.

Only what is here is taken for something that a user can mend; whatever else is raised is a fault of this program.
"""

import contextlib
import errno
import os
import pickle
import shutil
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

from pipeline.terminal import shown

_FULL = ("no space left on device", "os error 28)", "disk quota exceeded", "os error 122)")
_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory", "os error 12)")
_LIBRARIES = (
    *("pyarrow", "PIL", "safetensors", "safetensors_rust", "zarr", "numcodecs", "yaml", "ruamel", "json"),
    *("zipfile", "tarfile", "zlib", "lzma", "bz2", "gzip", "tokenizers", "omegaconf", "onnx"),
)
_ADVICE = {
    errno.EROFS: "Its file system is mounted read-only: run where the project can be written.",
    errno.EACCES: "This user may not: change its owner or its permissions (`ls -l` shows them).",
    errno.EPERM: "This user may not: change its owner or its permissions (`ls -l` shows them).",
    errno.EFBIG: "The file would be larger than is allowed here: see `ulimit -f`, and what the file system can hold.",
    errno.EMFILE: "Too many files are open at once: raise the limit with `ulimit -n 65536`, or lower encode.workers.",
    errno.ENFILE: "Too many files are open on this machine: close other programs.",
    errno.ENAMETOOLONG: "The name is too long for the file system: shorten it, or move the project to a shorter path.",
    errno.ENOENT: "It is missing, or vanished while it was read: put it back, and run the same command again.",
    errno.ESTALE: "It vanished from a network file system while it was read: run the same command again.",
    errno.ENOTDIR: "A file stands where a folder is expected: move it away.",
    errno.EISDIR: "A folder stands where a file is expected: move it away.",
    errno.EEXIST: "Another one is in its place: move it away.",
    errno.ELOOP: "Its links lead in a circle: remove one of them.",
    errno.EIO: "The disk or the network file system failed: look into the system's log, and copy what is dear to you.",
}


def message_of(error: BaseException) -> str | None:
    """What happened and what helps; None where nothing here knows the error."""
    return (
        full_disk(error)
        or short_memory(error)
        or _lost_process(error)
        or _of_system(error)
        or _of_text(error)
        or _nested(error)
        or _missing_package(error)
        or _of_library(error)
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)


def full_disk(error: BaseException) -> str | None:
    """Of a full disk or a used-up quota: what could not be written, how much is free where."""
    for one in causes(error):
        number = one.errno if isinstance(one, OSError) else None
        told = number is None and any(sign in str(one).lower() for sign in _FULL)
        if number in (errno.ENOSPC, errno.EDQUOT) or told:
            path = getattr(one, "filename2", None) or getattr(one, "filename", None) or _path_near(one)  # the target
            what = f" to write {shown(path)}" if path else ""
            return (
                f"No space is left{what} ({_said(one)}). Free: {_room(path)}. Make room, for example with `python -m "
                "pipeline.store gc --yes`, and run the same command again: what is finished is not made twice."
            )
    return None


def short_memory(error: BaseException) -> str | None:
    """Of a host or a device without memory."""
    for one in causes(error):
        kind = type(one).__name__
        library = isinstance(one, RuntimeError | OSError) and any(sign in str(one).lower() for sign in _NO_MEMORY)
        if isinstance(one, MemoryError) or kind == "OutOfMemoryError" or library:
            device = "the GPU" if "cuda" in str(one).lower() or kind == "OutOfMemoryError" else "this machine"
            return (
                f"The memory of {device} does not suffice ({_said(one)}){_place(one)}. Lower what params.yaml holds at "
                "once (encode.batch_size, encode.workers, train.batch_size; `train.features: stream`), end other "
                "programs, or take a larger machine."
            )
    return None


def _lost_process(error: BaseException) -> str | None:
    if type(error).__name__ not in ("BrokenProcessPool", "BrokenThreadPool", "BrokenExecutor"):
        return None
    return (
        f"A process that works for this one has ended ({_said(error)}), most often because memory was short. Lower "
        "encode.workers in params.yaml, or set `encode.decode: threads`, and run the same command again."
    )


def _of_system(error: BaseException) -> str | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    path = error.filename if error.filename is not None else _path_near(error)
    names = " and ".join(shown(os.fsdecode(p)) for p in (path, error.filename2) if p not in (None, ""))
    advice = _ADVICE.get(error.errno, "Mend that, and run the same command again.")
    return f"{names or 'A file or a connection'}: {error.strerror or _said(error)} [{_name(error.errno)}]. {advice}"


def _of_text(error: BaseException) -> str | None:
    if isinstance(error, UnicodeError):
        path = _path_near(error)
        what = f"{shown(path)}: " if path else ""
        return (
            f"{what}text is not in the encoding that is expected ({_said(error)}). Files of text should be UTF-8; "
            "names of files too, and the terminal as well (`export LC_ALL=C.UTF-8`)."
        )
    if isinstance(error, ValueError) and "null byte" in str(error):
        return f"A path holds a NUL character, which no file can have in its name{_place(error)}. Remove it there."
    return None


def _nested(error: BaseException) -> str | None:
    if not isinstance(error, RecursionError):
        return None
    readers = ("json", "yaml", "ruamel")  # a recursion of our own is a fault of the program
    files = [Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__)]
    reading = "JSON" in str(error) or any(part in readers for parts in files for part in parts)
    path = _path_near(error)
    if path is None or not reading:
        return None
    return f"{shown(path)} is nested too deeply to be read: {_REPLACE}"


def _missing_package(error: BaseException) -> str | None:
    if not isinstance(error, ImportError) or (error.name or "").split(".")[0] in (_PACKAGE.name, "stages"):
        return None
    return f"{_said(error)}. Run `make setup`, and `source .venv/bin/activate` in this terminal."


_PACKAGE = Path(__file__).parent
_TELLING = ("partial", "path", "file", "target", "folder", "source", "out")  # names of variables
_REPLACE = (
    "it is damaged, cut short or of another format. If it lies below data/, remove it and run `dvc repro`, which "
    "restores it; a file of your own has to be replaced."
)


def _of_library(error: BaseException) -> str | None:
    """Of a file that a library cannot read."""
    for one in causes(error):
        unnumbered = isinstance(one, OSError) and one.errno is None  # libraries raise it for what they cannot read
        if unnumbered or _from_library(one) or isinstance(one, EOFError | pickle.UnpicklingError):
            path = _path_near(one) or _path_near(error)
            return f"{shown(path) if path else 'A file'} cannot be read ({_said(one)}): {_REPLACE}"
    return None


def _from_library(error: BaseException) -> bool:
    return any(kind.__module__.split(".")[0] in _LIBRARIES for kind in type(error).__mro__)


def place_of(error: BaseException) -> str:
    """` (pipeline/x.py, line 7)`: the last line of this project that was running; empty if there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if path.is_relative_to(_PACKAGE) or path.is_relative_to(_PACKAGE.parent / "stages"):
            return f" ({path.relative_to(_PACKAGE.parent).as_posix()}, line {frame.lineno})"
    return ""


def _place(error: BaseException) -> str:
    return f" while in{place}" if (place := place_of(error)) else ""


def _path_near(error: BaseException) -> Path | None:
    """The path that was being worked on, which libraries rarely say: that in the innermost function that has one."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        values = frame.f_locals
        for value in (*(values.get(name) for name in _TELLING), *values.values()):
            if isinstance(value, Path):
                return value
    return None


def _room(path: object) -> str:
    """How much is free where this project writes: at the path, in the folder, the work folder, for temporary files."""
    from pipeline.work_folder import work_folder

    found: dict[int, str] = {}
    places = (lambda: Path(os.fsdecode(str(path))) if path else Path.cwd(), Path.cwd, work_folder, tempfile.gettempdir)
    for place in places:
        with contextlib.suppress(Exception):
            folder = Path(place()).absolute()
            while not folder.exists():
                folder = folder.parent
            device = folder.stat().st_dev
            if device not in found:
                found[device] = f"{shutil.disk_usage(folder).free / 1e6:,.1f} MB at {shown(folder)}"
    return ", ".join(found.values()) or "unknown"


def _said(error: BaseException) -> str:
    text = shown(" ".join(str(error).split()))[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number))
