"""What a project leaves, as digests that two runs can be compared by.

Bytes are compared, less figures of time, memory and work: those are measurements of the runs that made them. They lie
in `metrics.json` and `curves.csv` of models, in the costs, and in what the report shows of both.
"""

import contextlib
import csv
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import yaml

MEASURED = re.compile(r"(^|_)seconds(_|$)|^(peak_bytes|output_bytes|backbone_rows)$|^encode_once\.")
TIMED = re.compile(r"data/(models/[^/]+/(metrics\.json|curves\.csv)|accounting/.*|report/.*)$")
_SHOWN = re.compile(r'(<span class="n" data-source="data/(?:accounting/|models/[^"]*seconds)[^>]*>)[^<]*')
_DRAWING = re.compile(r'<div class="drawing">.*?</svg>', re.DOTALL)
_DIGEST = re.compile(r"<code>[0-9a-f]{16}</code>")  # of files that hold times, among others
_HOLD_TIMES = ("data/models", "data/accounting", "data/report")  # in dvc.lock, whose digests they change


def contents(project: Path) -> dict[str, str]:
    """Digests by path of all files below data, and of dvc.lock."""
    found = {}
    for path in sorted((project / "data").rglob("*")):
        if path.is_file() and path.name != "README.md":
            name = path.relative_to(project).as_posix()
            found[name] = digest(name, path.read_bytes())
    found["dvc.lock"] = _lock_digest(project)
    return found


def digest(name: str, content: bytes) -> str:
    """Of the file at `name`, without its figures of time and memory."""
    if TIMED.match(name):
        with contextlib.suppress(ValueError):  # damaged: its bytes then
            content = _timeless(name, content.decode("utf-8")).encode()
    return hashlib.blake2b(content).hexdigest()


def _timeless(name: str, text: str) -> str:
    if name.endswith(".json"):
        return json.dumps(_without_measures(json.loads(text)))
    if name.endswith(".csv"):
        rows = list(csv.DictReader(io.StringIO(text)))
        return json.dumps([{key: value for key, value in row.items() if key != "samples_per_second"} for row in rows])
    return _DIGEST.sub("", _DRAWING.sub("", _SHOWN.sub(r"\1", text)))


def _without_measures(value: Any) -> Any:
    if isinstance(value, dict):
        if str(value.get("name", "")).startswith("encode_once."):  # a ratio of what was measured
            return value["name"]
        return {key: _without_measures(one) for key, one in value.items() if not MEASURED.search(key)}
    return [_without_measures(one) for one in value] if isinstance(value, list) else value


def lock_of(project: Path) -> dict[str, Any]:
    """The stages of dvc.lock; raises what YAML raises for one that is not whole."""
    return dict(yaml.safe_load((project / "dvc.lock").read_text(encoding="utf-8"))["stages"])


def _lock_digest(project: Path) -> str:
    try:
        lock = lock_of(project)
        for stage in lock.values():
            for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
                if entry["path"].startswith(_HOLD_TIMES):
                    entry.pop("md5", None)
                    entry.pop("size", None)
    except Exception as error:  # whatever a YAML parser and half a file lead to
        return f"not whole: {type(error).__name__}"
    return hashlib.blake2b(json.dumps(lock, sort_keys=True).encode()).hexdigest()
