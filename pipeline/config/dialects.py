"""params.yaml has two readers, DVC and this project, whose dialects of YAML differ: what they read differently is
refused, since DVC would then decide by another value than a stage computes with.
"""

from collections.abc import Iterator
from typing import Any

from pipeline.errors import ConfigError


def require_one_reading(text: str, ours: Any, where: str) -> None:
    """Check that DVC reads the same values.

    Args:
        text: of the file.
        ours: what this project reads, as plain data.

    Raises:
        ConfigError: names every key that is read in two ways, and both readings.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        dvcs = YAML(typ="safe").load(text) or {}
    except (YAMLError, ValueError) as error:  # a date that is none, a number of thousands of digits
        raise ConfigError(f"{where} is not valid YAML for DVC: {error}") from error
    if not isinstance(dvcs, dict):
        raise ConfigError(f"{where} should hold named sections; it holds {dvcs!r:.60}.")
    problems = list(_differences(ours, dvcs, ""))
    if problems:
        raise ConfigError(f"{where}:\n" + "\n".join(f"  {line}" for line in problems))


def _differences(ours: Any, dvcs: Any, key: str) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(dvcs, dict):
        if len(ours) != len(dvcs):
            yield f"`{key}` has {len(ours)} names here and {len(dvcs)} for DVC: two of them are read as one."
        for name, other in zip(ours, dvcs, strict=False):
            if name != other or type(name) is not type(other):
                yield (
                    f"a name under `{key}` is read as {name!r} here and as {other!r} by DVC: write another one that "
                    f"is a word, such as `v-{name if isinstance(name, str) else other}`."
                )
            else:
                yield from _differences(ours[name], dvcs[name], f"{key}.{name}" if key else str(name))
    elif isinstance(ours, list) and isinstance(dvcs, list) and len(ours) == len(dvcs):
        for number, pair in enumerate(zip(ours, dvcs, strict=True)):
            yield from _differences(*pair, f"{key}.{number}")
    elif type(ours) is not type(dvcs) or (ours != dvcs and ours == ours):
        yield (
            f"`{key}` is read as {ours!r} here and as {dvcs!r} by DVC: write text in quotes, numbers without leading "
            "zeros, floats as 1.0e-3, and truth values as true or false."
        )
