"""Reading params.yaml: every key is validated, every section that is handed out is remembered."""

import difflib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from pipeline.config.catalogue import from_catalogue
from pipeline.config.references import dangling
from pipeline.config.schema import Params, StoreSpec, ViewSpec
from pipeline.errors import ConfigError

DEFAULT_FILE = Path("params.yaml")
TRACE_VARIABLE = "PERMAFROST_TRACE"  # a file to which the sections in use are appended, one JSON line each
_NOT_OURS = ("hydra", "item")


class Config:
    """Validated parameters. A stage takes its sections from here by the key that dvc.yaml declares for it."""

    def __init__(self, params: Params) -> None:
        self._params = params

    def section(self, key: str) -> Any:
        """The value at the dotted `key`, for example `views.vit` or `train`.

        Raises:
            ConfigError: there is no such key; the message lists what there is.
        """
        value: Any = self._params
        walked = ""
        for part in _parts(key, self._params):
            known = list(value) if isinstance(value, dict) else list(type(value).model_fields)
            if part not in known:
                where = f"under `{walked}`" if walked else "in params.yaml"
                raise ConfigError(f"params.yaml: there is no `{part}` {where}.{_suggestion(part, known)}")
            value = value[part] if isinstance(value, dict) else getattr(value, part)
            walked = f"{walked}.{part}" if walked else part
        _trace(key)
        return value

    def with_store(self, name: str, store: StoreSpec, view: ViewSpec) -> "Config":
        """These parameters and one more store, through a view of its own; for features beside the DAG."""
        views, stores = {**self._params.views, store.view: view}, {**self._params.stores, name: store}
        return Config(self._params.model_copy(update={"views": views, "stores": stores}))


def load_config(source: DictConfig | Path | None = None) -> Config:
    """Validate a params file, or what Hydra composed from one.

    Args:
        source: a path, a Hydra config, or None for ./params.yaml.

    Raises:
        ConfigError: names every key that is unknown, of the wrong type or impossible, its value and what would do.
    """
    if not isinstance(source, DictConfig):
        path = source or DEFAULT_FILE
        try:
            loaded = OmegaConf.load(path)
        except FileNotFoundError as error:
            raise ConfigError(f"No {path} here. Run from the root of the project.") from error
        except (YAMLError, OmegaConfBaseException) as error:
            raise ConfigError(f"{path} is not valid YAML: {error}") from error
        if not isinstance(loaded, DictConfig):
            raise ConfigError(f"{path} should hold named sections; it holds a {type(loaded).__name__}.")
        source = loaded
    raw = OmegaConf.to_container(source, resolve=False)
    assert isinstance(raw, dict)
    return Config(validate({str(key): value for key, value in raw.items() if key not in _NOT_OURS}))


def validate(raw: dict[str, Any]) -> Params:
    """Build `Params` from plain data and check that its parts name each other rightly.

    Raises:
        ConfigError: as `load_config`.
    """
    raw = _with_catalogue(raw)
    try:
        params = Params.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise ConfigError("params.yaml:\n" + "\n".join(f"  {line}" for line in _explain(error, raw))) from None
    problems = list(dangling(params, _suggestion))
    if problems:
        raise ConfigError("params.yaml:\n" + "\n".join(f"  {line}" for line in problems))
    return params


def _with_catalogue(raw: dict[str, Any]) -> dict[str, Any]:
    """The same with every entry of `encoders` written out that names one of the catalogue."""
    encoders = raw.get("encoders")
    if not isinstance(encoders, dict):
        return raw
    written: dict[str, Any] = {}
    for name, entry in encoders.items():
        try:
            written[name] = from_catalogue(entry) if isinstance(entry, dict) else entry
        except ValueError as error:
            raise ConfigError(f"params.yaml:\n  `encoders.{name}.catalogue`: {error}.") from None
    return raw | {"encoders": written}


def _parts(key: str, params: Params) -> list[str]:
    """Split a dotted key; entry names of a catalogue may hold dots themselves."""
    head, _, rest = key.partition(".")
    if rest and isinstance(getattr(params, head, None), dict):
        return [head, rest]
    return key.split(".")


def _trace(key: str) -> None:
    target = os.environ.get(TRACE_VARIABLE)
    if target:
        with open(target, "a", encoding="utf-8") as file:
            file.write(json.dumps({"param": key}) + "\n")


def _suggestion(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    listed = ", ".join(sorted(known))
    return f" Did you mean `{near[0]}`?" if near else f" Known here: {listed}." if listed else ""


def _explain(error: ValidationError, raw: dict[str, Any]) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        location = _as_written([str(part) for part in problem["loc"]], raw)
        key = ".".join(location)
        if problem["type"] == "extra_forbidden":
            yield f"`{key}` is not a key that exists here.{_suggestion(location[-1], _fields_at(location[:-1], raw))}"
        elif problem["type"] == "missing":
            yield f"`{key}` is missing; give it a value."
        elif problem["type"] == "value_error":
            yield f"`{key}`: {problem['ctx']['error']}."
        else:
            reason = problem["msg"][0].lower() + problem["msg"][1:]
            yield f"`{key}` is {problem['input']!r}: {reason}."


def _as_written(location: list[str], raw: Any) -> list[str]:
    """The location without the tag that pydantic adds after an entry of a union, e.g. `datasets.x.emoji.styles`."""
    value, written = raw, []
    for part in location:
        if isinstance(value, dict) and part not in value and value.get("source") == part:
            continue
        written.append(part)
        if isinstance(value, dict):
            value = value.get(part)
    return written


def _fields_at(location: list[str], raw: dict[str, Any]) -> list[str]:
    model: Any = Params
    value: Any = raw
    for part in location:
        value = value.get(part) if isinstance(value, dict) else None
        model = _step(model, part, value)
        if model is None:
            return []
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _step(model: Any, part: str, value: Any) -> Any:
    if isinstance(model, type) and issubclass(model, BaseModel):
        field = model.model_fields.get(part)
        return None if field is None else field.annotation
    if get_origin(model) is not dict:
        return None
    inner = get_args(model)[1]
    if get_origin(inner) is not Annotated:
        return inner
    source = value.get("source") if isinstance(value, dict) else None
    for member in get_args(get_args(inner)[0]):
        if source in get_args(member.model_fields["source"].annotation):
            return member
    return None
