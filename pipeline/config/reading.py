"""Whether params.yaml can be read at all: a plain file of a reasonable size, that does not expand into an unreasonable
one, and whose values are numbers and text that can be written down again.
"""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import ConfigError

MOST_BYTES = 4 * 2**20  # that of the default is 15 kB
MOST_VALUES = 200_000
MOST_LEVELS = 50
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)


def read_text(path: Path) -> str:
    """The text of a file of parameters.

    Raises:
        ConfigError: it is missing, no plain file, too large, or no UTF-8 text.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):  # a pipe would never end
            raise ConfigError(f"{path} cannot be read: it should be a plain file, and is a folder, a pipe or a device.")
        if about.st_size > MOST_BYTES:
            raise ConfigError(
                f"{path} has {about.st_size / 1e6:.1f} MB, and {MOST_BYTES / 1e6:.1f} MB are the most: parameters are "
                "written by hand. Keep tables in files of their own, which `datasets` names."
            )
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"No {path} here. Run from the root of the project.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def require_reasonable(text: str, where: str) -> None:
    """Check, before anything is built of it, what a text of YAML would grow to.

    An alias (`*name`) counts as all that its anchor (`&name`) holds, so that a few lines cannot stand for billions.

    Raises:
        ConfigError: it is nested too deeply, holds too many values, or an anchor holds itself.
        yaml.YAMLError: it is no YAML.
    """
    count = depth = 0
    sizes: dict[str, int] = {}  # of what an anchor holds, once it is closed
    opened: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=_LOADER):
        line = f"{where}, line {event.start_mark.line + 1 if event.start_mark else 1}"
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.AliasEvent):
            if any(name == anchor for name, _ in opened):
                raise ConfigError(f"{line}: `*{anchor}` stands inside `&{anchor}`, which would have no end.")
            count += sizes.get(str(anchor), 0)
        elif isinstance(event, _OPENING):
            opened.append((anchor, count))
            count += 1
            depth = len(opened)
        elif isinstance(event, yaml.CollectionEndEvent):
            name, before = opened.pop()
            if name is not None:
                sizes[name] = count - before
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            if anchor is not None:
                sizes[anchor] = 1
        if depth > MOST_LEVELS:
            raise ConfigError(f"{line}: more than {MOST_LEVELS} levels of nesting; params.yaml needs about eight.")
        if count > MOST_VALUES:
            raise ConfigError(
                f"{line}: more than {MOST_VALUES:,} values, with what aliases (`*name`) stand for. Remove aliases of "
                "aliases, and keep tables in files of their own, which `datasets` names."
            )


def require_plain(value: Any, where: str = "") -> Iterator[str]:
    """A line for each key and each value that cannot be a parameter.

    Keys are text, as DVC needs it in the name of a stage. No text asks for interpolation, is "missing", or holds what
    can be in no path and no JSON: a NUL character, or half of a surrogate pair.
    """
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield (
                    f"the name {key!r}{f' under `{where}`' if where else ''} is read as a {type(key).__name__}: write "
                    f"another one, such as `v-{key}`."
                )
            elif problem := _unwritable(key):
                yield f"the name {key!r:.200}{f' under `{where}`' if where else ''} {problem}"
            else:
                yield from require_plain(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from require_plain(inner, f"{where}.{number}")
    elif isinstance(value, str):
        if "${" in value or value == "???":
            yield f"`{where}` is {value!r}: nothing is interpolated; write the value itself."
        elif problem := _unwritable(value):
            yield f"`{where}` is {value!r:.200}: it {problem}"
    elif isinstance(value, int) and abs(value) >= 2**64:  # beyond any bound, and in time beyond what Python prints
        yield f"`{where}` is a number of {value.bit_length() * 30103 // 100000 + 1} digits; no parameter takes it."
    elif not isinstance(value, int | float | None):
        yield f"`{where}` is {value!r:.100}, a {type(value).__name__}: write a number, a truth value or text in quotes."


def _unwritable(text: str) -> str:
    if "\0" in text:
        return "holds a NUL character, which no path and no name can hold; remove it."
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "holds half of a surrogate pair, which is no character; write the character itself."
    return ""
