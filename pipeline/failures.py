"""The one place where a command ends that cannot go on: whatever was raised becomes one message and an exit code.

A message says what happened, where, and what to do. An error that nobody foresaw is a fault of this program: its
traceback goes to a file, which the message names. PERMAFROST_TRACEBACK=1 prints the traceback of every error.
"""

import contextlib
import errno
import os
import platform
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from pipeline.errors import PermafrostError
from pipeline.explanations import full_disk, message_of, place_of
from pipeline.terminal import shield, shielded, shown

VARIABLE = "PERMAFROST_TRACEBACK"
INTERRUPTED = 130
_KEPT_REPORTS = 20
_KEPT = {
    "index": "Pictures that were already checked are remembered.",
    "encode": "Finished shards are kept.",
    "train": "It goes on from the last checkpoint of training.",
}


@contextmanager
def reported(command: str) -> Iterator[None]:
    """End the process with one message and an exit code when the block raises: 1, or 130 after Ctrl-C.

    Args:
        command: what runs, for example `train@default`.
    """
    _hear_late_interrupts()
    with shielded():
        try:
            yield
            sys.stdout.flush()  # a full disk behind it is told here, and not after the last line of this program
        except (Exception, KeyboardInterrupt) as error:
            if _nobody_reads(error):
                sys.exit(1)
            code = report(error, command)
            if isinstance(error, KeyboardInterrupt):  # a second Ctrl-C does not wait for threads
                with contextlib.suppress(ValueError):  # not the main thread
                    signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.exit(code)


def exit_code(command: str, run: Callable[[], int]) -> int:
    """What `run` gives, or the exit code with which `reported` would end the process."""
    code = 0
    try:
        with reported(command):
            code = run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return code


def report(error: BaseException, command: str) -> int:
    """Write one message about an error to stderr; gives the exit code."""
    if wants_traceback():
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, KeyboardInterrupt):
        kept = _KEPT.get(command.partition("@")[0], "What it had not finished is made again.")
        sys.stderr.write(f"interrupted: {shown(command)} has stopped. {kept} Run the same command again.\n")
        return INTERRUPTED
    if isinstance(error, PermafrostError):
        message = str(error)
        if (disk := full_disk(error)) and "Free: " not in message:
            message += f"\n{disk}"
    else:
        message = message_of(error) or _unforeseen(error, command)
    first, *more = message.split("\n")
    lines = (line if line.startswith(" ") or not line else f"  {line}" for line in more)  # none looks like one of ours
    sys.stderr.write("\n".join((f"error: {first}", *lines)) + "\n")
    return 1


def install() -> None:
    """Report what is raised outside of `reported`, as while modules are imported, in the same way."""

    def hook(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        report(error, Path(sys.argv[0]).stem)

    shield()
    _hear_late_interrupts()
    sys.excepthook = hook


def _hear_late_interrupts() -> None:
    """Answer a Ctrl-C that Python can only ignore, in a clean-up or at its end, with a line instead of a traceback."""
    earlier = sys.unraisablehook
    if getattr(earlier, "__module__", "") == __name__:
        return

    def hook(raised: "sys.UnraisableHookArgs") -> None:
        if not issubclass(raised.exc_type, KeyboardInterrupt):
            earlier(raised)
        elif threading.main_thread().is_alive():
            sys.stderr.write("Ctrl-C came while Python was cleaning up and stopped nothing; press it again.\n")
        # else the work is done, and only the interpreter's own end was disturbed

    sys.unraisablehook = hook


def wants_traceback() -> bool:
    """Whether whoever runs this asked for tracebacks."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


def _unforeseen(error: BaseException, command: str) -> str:
    text = " ".join(str(error).split())[:300]
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    where = place_of(error)
    file = _written(error, command)
    if file is None:
        traceback.print_exception(error, file=sys.stderr)
        kept = "its traceback is above"
    else:
        kept = f"its traceback is in {shown(file)}"
    return f"{shown(command)}: {said}{where}. This is a fault of the program; {kept}. Report it with that file, please."


def _written(error: BaseException, command: str) -> Path | None:
    """Write a traceback where reports are kept; None where nothing can be written."""
    text = (
        f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}  {shown(' '.join(sys.argv))}\n"
        f"Python {platform.python_version()}, {platform.platform()}\n\n"
        f"{''.join(traceback.format_exception(error))}"
    )
    name = "".join(letter if letter.isalnum() or letter in "-_@." else "_" for letter in command)[:100]
    for folder in (_reports, lambda: Path(tempfile.mkdtemp(prefix="permafrost-"))):
        with contextlib.suppress(Exception):
            path = folder() / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}-{name}.txt"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL  # follows no link
            with open(os.open(path, flags, 0o600), "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            return path
    return None


def _reports() -> Path:
    """The folder of reports, with room for one more."""
    from pipeline.work_folder import work_folder

    folder = work_folder() / "failures"
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink():  # in a shared work folder it may lead to the files of somebody else
        raise OSError(f"{folder} is a link")
    for path in sorted(folder.glob(f"{'[0-9]' * 8}-{'[0-9]' * 6}-*.txt"))[: -_KEPT_REPORTS + 1]:
        path.unlink(missing_ok=True)
    return folder


def _nobody_reads(error: BaseException) -> bool:
    """Whether the reader of a pipe behind stdout has gone, as `head` does; nothing more can be said there."""
    if not isinstance(error, OSError) or error.errno != errno.EPIPE:
        return False
    out, watch = sys.stdout.fileno(), select.poll()
    watch.register(out, 0)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in watch.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out)  # Python writes there once more at its end
    return gone
