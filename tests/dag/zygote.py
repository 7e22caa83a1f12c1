"""Commands of the small project without their imports: a process that has libraries loaded forks one for each.

The DAG of a toy project is a hundred processes that import for seconds and work for milliseconds. Here `python -m
stages.x` and `dvc` reach, through a shim on the PATH, a server that holds the libraries, and none of this project's own
modules. It forks, and the child runs the module as `python -m` would: in the folder, with the environment and on the
files of its caller.

With `ZYGOTE_GROUP` in the environment, the child joins the process group of its caller, so that a signal to the group
reaches it as it would reach a child of the caller. With `ZYGOTE_FIRST`, the file of that name runs before the module.
"""

import array
import atexit
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = [
    "numpy",
    "torch",
    "torch.nn.functional",
    "torchvision",
    "pandas",
    "pyarrow",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "zarr",
    "google_crc32c",
    "xxhash",
    "hydra",
    "hydra.main",
    "omegaconf",
    "pydantic",
    "yaml",
    "ruamel.yaml",
    "jinja2",
    "tqdm",
    "psutil",
    "PIL.Image",
    "PIL.ImageDraw",
    "safetensors.torch",
    "scipy.optimize",
    "scipy.stats",
    "matplotlib.pyplot",
    "huggingface_hub",
    "tokenizers",
    "transformers",
    "transformers.models.dinov2.modeling_dinov2",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bit.image_processing_bit",
    "transformers.models.auto.image_processing_auto",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "dvc.cli",
    "dvc.cli.parser",
    "dvc.repo",
    "dvc.repo.reproduce",
    "dvc.config",
    "dvc.commands.repro",
    "dvc_data",
]
JOIN = "ZYGOTE_GROUP"
FIRST = "ZYGOTE_FIRST"
SHIM = """import array, json, os, signal, socket, struct, sys
if {join!r} in os.environ:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
link = socket.socket(socket.AF_UNIX)
link.connect({address!r})
request = json.dumps([{prefix!r} + sys.argv[1:], os.getcwd(), dict(os.environ), os.getpgrp()]).encode()
files = array.array("i", [0, 1, 2])
link.sendmsg([struct.pack("!I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
link.sendall(request)
link.recv(4)
answer = link.recv(4)
sys.exit(struct.unpack("!i", answer)[0] if len(answer) == 4 else 137)
"""


class Running:
    """A module of the server's that runs in a process group of its own, as a command typed at a terminal does.

    Attributes:
        pid: of the process and of its group.
    """

    def __init__(
        self, address: Path, command: Sequence[str], folder: Path, environment: dict[str, str], log: Path
    ) -> None:
        """Start `python -m <command>` in `folder`; what it says is added to `log`."""
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(str(address))
        request = json.dumps([["-m", *command], str(folder), environment, 0]).encode()
        with open(os.devnull, "rb") as nothing, open(log, "ab") as said:
            files = array.array("i", [nothing.fileno(), said.fileno(), said.fileno()])
            self._link.sendmsg([struct.pack("!I", len(request))], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
            self._link.sendall(request)
            self.pid: int = struct.unpack("!i", self._link.recv(4))[0]
        self.code: int | None = None

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit code, -9 for any process that a signal ended; None if it still runs after these seconds."""
        if self.code is None:
            self._link.settimeout(seconds)
            try:
                answer = self._link.recv(4)
            except (TimeoutError, BlockingIOError):
                return None
            except ConnectionResetError:
                answer = b""
            self.code = struct.unpack("!i", answer)[0] if len(answer) == 4 else -signal.SIGKILL
            self._link.close()
        return self.code

    def signal(self, number: int, *, group: bool = True) -> None:
        """Send a signal to the group, or to the process alone; one that is gone takes it in silence."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def kill(self) -> None:
        """Kill the whole group and return when nobody is left in it."""
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.killpg(self.pid, signal.SIGKILL)
                time.sleep(0.002)


@contextlib.contextmanager
def commands(folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A folder with `python` and `dvc` for the PATH, as long as the block lasts.

    `python` takes `-m MODULE` alone; whatever else is asked of it goes to the real one.
    """
    folder.mkdir(parents=True)
    address = str(folder / "socket")
    interpreter = sys.executable
    (folder / "fork").write_text(SHIM.format(address=address, join=JOIN, prefix=["-m"]))
    (folder / "fork-dvc").write_text(SHIM.format(address=address, join=JOIN, prefix=["-m", "dvc"]))
    (folder / "python").write_text(
        f'#!/bin/sh\nif [ "$1" = -m ] && [ -z "$PYTHONPATH" ]; then\n'
        f'shift; exec "{interpreter}" -IS "{folder}/fork" "$@"\nfi\n'
        f'exec "{interpreter}" "$@"\n'
    )
    (folder / "dvc").write_text(  # experiments start daemons of their own
        f'#!/bin/sh\ncase "$1" in exp|queue) exec "{interpreter}" -m dvc "$@";; esac\n'
        f'exec "{interpreter}" -IS "{folder}/fork-dvc" "$@"\n'
    )
    for name in ("python", "dvc"):
        (folder / name).chmod(0o755)
    server = subprocess.Popen([interpreter, __file__, address], env=environment, cwd=folder)
    try:
        deadline = time.monotonic() + 120
        while not Path(address).exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server of commands did not start")
            time.sleep(0.05)
        yield folder
    finally:
        server.terminate()
        server.wait()


def serve(address: str) -> None:
    """Load the libraries and fork for each request, until the process that started this one is gone."""
    _fix_torchvision()
    for name in LIBRARIES:
        importlib.import_module(name)
    assert not {"pipeline", "stages"} & set(sys.modules), "each child imports the modules of its own folder"
    gc.collect()
    gc.freeze()  # what is loaded is looked at, and so copied, by no child's collector
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address + ".starting")
    listener.listen(64)
    listener.settimeout(1.0)
    Path(address + ".starting").rename(address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children here
    started_by = os.getppid()
    while os.getppid() == started_by:
        with contextlib.suppress(TimeoutError):
            link, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                _answer(link)
            link.close()


def _fix_torchvision() -> None:
    """As the project does before it imports transformers; loaded by its path, to be forgotten again."""
    spec = importlib.util.spec_from_file_location("_fix", ROOT / "pipeline" / "torchvision_fix.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ensure_torchvision()


def _join(group: int, link: socket.socket) -> None:
    """Become a member of the caller's group, or of a new one, unless the caller has been killed meanwhile."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        os.setpgid(0, group)
        link.setblocking(False)
        if link.recv(1, socket.MSG_PEEK) == b"":
            os._exit(137)
    except BlockingIOError:
        link.setblocking(True)
    except OSError:
        os._exit(137)


def _answer(link: socket.socket) -> None:
    """Run the module that was asked for, and end with its exit code."""
    size = struct.calcsize("!I")
    header, controls, _, _ = link.recvmsg(size, socket.CMSG_SPACE(3 * array.array("i").itemsize))
    files = array.array("i", controls[0][2])
    content = b""
    while len(content) < struct.unpack("!I", header)[0]:
        content += link.recv(1 << 20)
    (_, module, *arguments), folder, environment, group = json.loads(content)
    if JOIN in environment:
        _join(group, link)
    link.sendall(struct.pack("!i", os.getpid()))
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (the server's own may be of another kind)
    sys.stderr = open(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv = [module, *arguments]
    code = 0
    try:
        if FIRST in environment:
            exec(compile(Path(environment[FIRST]).read_bytes(), environment[FIRST], "exec"), {"__name__": "first"})
        sys.argv[0] = "-m"  # as it is until `python -m` has found the module
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(end.code + "\n")
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    link.sendall(struct.pack("!i", code))
    os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
