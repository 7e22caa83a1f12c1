"""Reading params.yaml: every key is validated, and each stage is handed what it may read."""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from yaml import YAMLError

from pipeline.config.checks import contradictions
from pipeline.config.complete import completed
from pipeline.config.dialects import require_one_reading
from pipeline.config.explain import explain
from pipeline.config.params import Params
from pipeline.config.reading import read_text, require_plain, require_reasonable
from pipeline.config.settings import settings_of
from pipeline.config.stage_settings import Settings
from pipeline.config.stores import StoreEntry
from pipeline.config.suggestion import suggestion
from pipeline.config.views import AnyView
from pipeline.errors import ConfigError

DEFAULT_FILE = Path("params.yaml")
_NOT_OURS = ("hydra", "item", "part")  # of the command line


class Config:
    """Validated parameters.

    Attributes:
        params: all of them.
    """

    def __init__(self, params: Params) -> None:
        self.params = params

    def settings(self, stage: str, item: str = "") -> Settings:
        """What a stage reads of params.yaml, and nothing else: names resolved, defaults written out.

        Raises:
            ConfigError: there is no such item.
        """
        return settings_of(self.params, stage, item)

    def section(self, key: str) -> Any:
        """The value at the dotted `key`, for example `views.vit` or `train`.

        Raises:
            ConfigError: there is no such key; the message lists what there is.
        """
        value: Any = self.params
        walked = ""
        for part in _parts(key, self.params):
            known = list(value) if isinstance(value, dict) else list(type(value).model_fields)
            if part not in known:
                where = f"under `{walked}`" if walked else "in params.yaml"
                raise ConfigError(f"params.yaml: there is no `{part}` {where}.{suggestion(part, known)}")
            value = value[part] if isinstance(value, dict) else getattr(value, part)
            walked = f"{walked}.{part}" if walked else part
        return value

    def with_store(self, name: str, store: StoreEntry, view: AnyView) -> "Config":
        """These parameters and one more store of pairs, through a view of its own; for features beside the DAG."""
        views = {**self.params.views, store.view: view}
        stores = self.params.stores.model_copy(update={"pairs": {**self.params.stores.pairs, name: store}})
        return Config(self.params.model_copy(update={"views": views, "stores": stores}))


def load_config(source: DictConfig | Path | None = None) -> Config:
    """Validate a params file, or what Hydra composed from one.

    Args:
        source: a path, a Hydra config, or None for ./params.yaml.

    Raises:
        ConfigError: names every key that is unknown, of the wrong type, without effect or impossible, its value and
            what would do.
    """
    if not isinstance(source, DictConfig):
        path = source or DEFAULT_FILE
        text = read_text(path)
        try:
            require_reasonable(text, str(path))
            loaded = OmegaConf.create(text) if text.strip() else OmegaConf.create({})
        except ConfigError:
            raise
        except YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {error}") from error
        except OmegaConfBaseException as error:
            key = f"`{error.full_key}`: " if error.full_key else ""
            raise ConfigError(
                f"{path}: {key}{str(error).splitlines()[0]}. Names must be words, not null, and a value cannot hold "
                "`${`: nothing is interpolated."
            ) from error
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, a date that is none
            raise ConfigError(f"{path} holds a value that cannot be read: {error}") from error
        if not isinstance(loaded, DictConfig):
            raise ConfigError(f"{path} should hold named sections; it holds a {type(loaded).__name__}.")
        require_one_reading(text, OmegaConf.to_container(loaded, resolve=False), str(path))
        source = loaded
    raw = OmegaConf.to_container(source, resolve=False)
    assert isinstance(raw, dict)
    return Config(validate({key: value for key, value in raw.items() if key not in _NOT_OURS}))


def validate(raw: dict[Any, Any]) -> Params:
    """Build `Params` from plain data and check that its parts name each other rightly.

    Raises:
        ConfigError: as `load_config`.
    """
    if problem := next(require_plain(raw), None):
        raise ConfigError(f"params.yaml:\n  {problem}")
    _require_entries(raw)
    raw = completed(raw)
    try:
        params = Params.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        raise ConfigError("params.yaml:\n" + "\n".join(f"  {line}" for line in explain(error, raw))) from None
    problems = list(dict.fromkeys(contradictions(params)))
    if problems:
        raise ConfigError("params.yaml:\n" + "\n".join(f"  {line}" for line in problems))
    return params


def _require_entries(raw: dict[str, Any]) -> None:
    """No section and no task is a name alone; elsewhere null may be a value."""
    evaluate = raw.get("evaluate")
    tasks = evaluate.get("tasks") if isinstance(evaluate, dict) else None
    for prefix, entries in (("", raw), ("evaluate.tasks.", tasks if isinstance(tasks, dict) else {})):
        for name, entry in entries.items():
            if entry is None:
                raise ConfigError(f"params.yaml:\n  `{prefix}{name}` has no entry: write some, or leave the line out.")


def _parts(key: str, params: Params) -> list[str]:
    """Split a dotted key; entry names of a catalogue may hold dots themselves."""
    head, _, rest = key.partition(".")
    if rest and isinstance(getattr(params, head, None), dict):
        return [head, rest]
    return key.split(".")
