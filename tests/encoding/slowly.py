"""A stage as jobs of a queue run it, which stops before its second shard if told to: slowly.py -m MODULE ARGUMENTS

With STOP_IN it says so, by a file of that name, and waits to be killed.
"""

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def stop_in(said: Path) -> None:
    """Let no second shard be written."""
    from pipeline.encoding.shard_encoder import ShardEncoder

    write, written = ShardEncoder.write, []

    def one(*given: Any) -> Any:
        if written:
            written[0].result()  # it is there
            said.touch()
            time.sleep(600)
        written.append(write(*given))
        return written[0]

    ShardEncoder.write = one  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.path[0] = str(ROOT)
    if place := os.environ.get("STOP_IN"):
        stop_in(Path(place))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
