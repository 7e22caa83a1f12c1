"""Reading the small JSON files that other rooms wrote, without importing those rooms."""

import json
from pathlib import Path
from typing import Any

from pipeline.errors import DataError


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        DataError: the file is missing, damaged or holds no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error}). Make it again with: dvc repro") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected a JSON object, found {type(content).__name__}. Run: dvc repro")
    return content


def field(content: dict[str, Any], name: str, where: Path) -> Any:
    """One field of an object from the file `where`; nested fields are parted by dots.

    Raises:
        DataError: there is no such field.
    """
    value: Any = content
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            raise DataError(f"{where}: expected the field {name!r}, which is not there. Make it again with: dvc repro")
        value = value[part]
    return value
