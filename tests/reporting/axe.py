"""What axe-core, the accessibility checker, finds on a page; its npm package is fetched once, pinned, into .venv."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pipeline.datasets.packages import Package, npm_members

FILE = Path(__file__).resolve().parents[2] / ".venv" / "axe-4.14.1.min.js"
PACKAGE = Package(
    "npm",
    "axe-core",
    "4.14.1",
    "axe-core-4.14.1.tgz",
    "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745",
    "MPL-2.0",
)


def script() -> str:
    """The source of axe-core.

    Raises:
        PermafrostError: it is not there and cannot be fetched.
    """
    if not FILE.is_file():
        with tempfile.TemporaryDirectory() as scratch:
            (source,) = (content for name, content in npm_members(PACKAGE, Path(scratch)) if name == "axe.min.js")
        FILE.parent.mkdir(exist_ok=True)
        whole = FILE.with_suffix(f".{os.getpid()}")
        whole.write_bytes(source)
        whole.replace(FILE)
    return FILE.read_text(encoding="utf-8")


def findings(page: Any) -> list[str]:
    """Serious and critical violations on the page as it is, one line for each kind."""
    page.evaluate(script() + "\n;0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']} ({one['impact']}): {json.dumps([node['html'][:160] for node in one['nodes'][:3]])}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
