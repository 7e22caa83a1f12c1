"""The settings of every stage as files: what DVC compares to see which stage must run again."""

from pathlib import Path

from pipeline.config.params import Params
from pipeline.config.settings import all_settings
from pipeline.files import write_json


def write_settings(params: Params, folder: Path) -> int:
    """Write <stage>.json, or <stage>/<item>.json where a stage has items, into `folder`; gives their number."""
    count = 0
    for stage, settings in all_settings(params):
        path = folder / stage / f"{settings.name}.json" if settings.name else folder / f"{stage}.json"
        write_json(settings.model_dump(mode="json"), path)
        count += 1
    return count
