"""How long each stage took when it last actually ran: a journal in the work folder, outside every declared output.

A duration inside an output would change its hash in each run, and everything downstream would run again.
"""

import json
import logging
import resource
import sys
import time
from pathlib import Path

import psutil

from pipeline.plain_files import append_line
from pipeline.work_folder import work_folder

JOURNAL = "timings.jsonl"
log = logging.getLogger(__name__)


def journal_path() -> Path:
    """Where the journal is kept: in the work folder."""
    return work_folder() / JOURNAL


def record(stage: str, item: str) -> None:
    """Append how long this process has been running (s, start of Python included) and its peak memory (bytes)."""
    path = journal_path()
    name = f"{stage}@{item}" if item else stage
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = {
        "stage": name,
        "seconds": round(time.time() - psutil.Process().create_time(), 3),
        "peak_bytes": peak if sys.platform == "darwin" else peak * 1024,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    append_line(path, json.dumps(line, sort_keys=True))


def last_timings() -> dict[str, dict[str, float | str]]:
    """The last line of each stage in the journal, by stage; empty where nothing has run here.

    A line that is cut short, as by a full disk, is skipped with a warning.
    """
    path = journal_path()
    if not path.is_file():
        return {}
    timings: dict[str, dict[str, float | str]] = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = dict(json.loads(text))
            timings[line.pop("stage")] = line
        except (ValueError, TypeError, KeyError) as error:
            log.warning("%s, line %d is skipped (%s: %s)", path, number, type(error).__name__, error)
    return timings
