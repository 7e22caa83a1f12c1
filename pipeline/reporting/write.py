"""From the files under data to one HTML page."""

import base64
import hashlib
import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from pipeline import __version__
from pipeline.config import TASKS, ReportSettings
from pipeline.reporting import sections
from pipeline.reporting.run_data import RunData

_CONTROL = ({*range(0x20), *range(0x7F, 0xA0)} - {0x09, 0x0A}) | {0x202D, 0x202E}  # the last ones turn words around
_SPELLED_OUT = {code: ascii(chr(code))[1:-1] for code in _CONTROL}  # names from data may hold them


def write_report(out: Path, settings: ReportSettings) -> Path:
    """Write out/index.html: one file that asks the network for nothing.

    Reads params.yaml, dvc.yaml and, under data/ of the working directory, what params.yaml names. The page says which
    of its files are missing.

    Args:
        settings: what params.yaml names.

    Raises:
        DataError: a file under data is damaged, or an example names an image that is not in its index.
        ConfigError: params.yaml or dvc.yaml is not valid YAML.
    """
    run = RunData(settings)
    environment = Environment(
        loader=PackageLoader("pipeline.reporting", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = (Markup(_source(environment, name)) for name in ("style.css", "page.js"))
    page = environment.get_template("page.html.j2").render(
        title=sections.title(run),
        subtitle=sections.subtitle(run),
        finding=sections.main_finding(run),
        sections=sections.all_sections(run),
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        version=__version__,
        plays=any(name in settings.tasks for name in TASKS if TASKS[name].across),
    )
    path = out / "index.html"
    out.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page.translate(_SPELLED_OUT), encoding="utf-8")
    os.replace(partial, path)
    return path


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]
