"""python -m pipeline.explorer, at the root of the project: a page on this machine over its aligners and stores."""

import argparse
import socket
import sys
import webbrowser
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.failures import exit_code

INSTALL = "pip install starlette uvicorn"
MAP = "needs: pip install pacmap"
PLANES = ("pca", "pacmap")  # those of `flat_map`, which reads Parquet


def main(arguments: list[str] | None = None) -> int:
    """Serve until interrupted; 1 if there is nothing to serve."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.explorer", description=__doc__)
    parser.add_argument("--project", type=Path, default=Path(), help="its root; default: here")
    parser.add_argument("--port", type=int, default=8421, help="0 takes a free one; default: 8421, or else a free one")
    parser.add_argument("--open", action="store_true", help="open it in a browser")
    parser.add_argument(
        "--map", choices=PLANES, default=PLANES[0], help=f"how the map is laid out; pacmap keeps neighbours ({MAP})"
    )
    given = parser.parse_args(arguments)
    return exit_code("python -m pipeline.explorer", lambda: _serve(given))


def _serve(given: argparse.Namespace) -> int:
    try:
        import uvicorn

        from pipeline.explorer.app import create_app
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("starlette", "uvicorn"):
            raise
        raise ConfigError(f"The explorer needs a web server: {INSTALL}") from error
    from pipeline.explorer.project import Project

    app = create_app(Project(given.project), given.map)
    listening = _socket(given.port)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    sys.stdout.write(f"{address}  (Ctrl-C ends it; nobody else can reach it)\n")
    sys.stdout.flush()
    if given.open:
        webbrowser.open(address)
    uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False)).run(sockets=[listening])
    return 0


def _socket(port: int) -> socket.socket:
    """A socket of this machine alone, on that port or, where it is taken and not asked for, a free one."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"Expected a port from 0 to 65535, found {port}.")
    for candidate in (port, 0):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(("127.0.0.1", candidate))
        except OSError as error:
            listening.close()
            if port != 8421 or candidate == 0:
                raise ConfigError(
                    f"Port {candidate} cannot be used: {error.strerror}. Choose another with --port."
                ) from error
            continue
        return listening
    raise AssertionError


if __name__ == "__main__":
    raise SystemExit(main())
