"""Runs in a process of the campaign before its module: counts its changes of files, or has it killed at one of them.

`CAMPAIGN_FAULT` holds JSON: `root`, below which changes count; `count`, a file that gets a line when a process ends; or
`program` (how the command line begins), `within` (part of a path), `change` (the number of it), `delay` (seconds after
it), `signal`, `group` (whether the whole process group gets it) and `fired` (a file that says where).
"""

import atexit
import json
import os
import sys
import threading
import time
from typing import Any

FAULT = json.loads(os.environ["CAMPAIGN_FAULT"])
ROOT = os.path.join(FAULT["root"], "")
NAMED = {"os.rename", "os.link", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.truncate", "sqlite3.connect"}
program = " ".join(sys.argv)
changes = 0


def changed(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The path below the root that an audited event is about to change, None for any other event."""
    if event == "open":
        path, _, flags = arguments
        if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return None
    elif event in NAMED:
        path = arguments[1] if event in ("os.rename", "os.link", "os.symlink") else arguments[0]
    else:
        return None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str) or "__pycache__" in path:
        return None
    whole = os.path.abspath(path)  # noqa: PTH100 (links are not followed)
    return whole[len(ROOT) :] if whole.startswith(ROOT) else None


def strike() -> None:
    """Send the signal."""
    (os.killpg if FAULT["group"] else os.kill)(os.getpgrp() if FAULT["group"] else os.getpid(), FAULT["signal"])


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Count a change; at the chosen one, say where and strike."""
    global changes
    path = changed(event, arguments)
    if path is None or FAULT.get("within", "") not in path:
        return
    changes += 1
    if "change" not in FAULT or changes != FAULT["change"] or not program.startswith(FAULT["program"]):
        return
    with open(FAULT["fired"], "w", encoding="utf-8") as file:
        file.write(f"{event} {path}")
    if FAULT["delay"]:
        timer = threading.Timer(FAULT["delay"], strike)
        timer.daemon = True
        timer.start()
    else:
        strike()


if "count" in FAULT:
    began = time.monotonic()

    @atexit.register
    def tell() -> None:
        """Add this process's line."""
        line = {"program": program, "changes": changes, "seconds": round(time.monotonic() - began, 3)}
        with open(FAULT["count"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


sys.addaudithook(watch)
