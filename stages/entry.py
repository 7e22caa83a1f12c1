"""What every stage shares: Hydra reads params.yaml, errors become one message and exit code 1."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from pipeline.config import Config, load_config
from pipeline.errors import ConfigError, PermafrostError
from pipeline.timings import record


def run(stage: Callable[[Config, str], None]) -> None:
    """Run `stage(config, item)` on params.yaml; `item` comes from `+item=NAME` on the command line, else ''."""

    @hydra.main(version_base="1.3", config_path=str(Path.cwd()), config_name="params")  # type: ignore[untyped-decorator]
    def main(raw: DictConfig) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        item = str(raw.get("item", ""))
        try:
            stage(load_config(raw), item)
            record(stage.__name__, item)
        except PermafrostError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(1)

    main()


def named(item: str, kind: str) -> str:
    """The item that the stage was started for.

    Raises:
        ConfigError: the stage needs `+item=NAME` and got none.
    """
    if not item:
        raise ConfigError(f"This stage works on one {kind}: add +item=NAME to the command.")
    return item
