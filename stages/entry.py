"""What every stage shares: Hydra reads params.yaml, a stage gets what it may read, errors become one message."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from pipeline.config import load_config
from pipeline.dvc_lock import keep_or_restore
from pipeline.errors import PermafrostError
from pipeline.timings import record


def run(stage: Callable[[Any], None]) -> None:
    """Run `stage(settings)` with the settings of the stage of that name, and end with exit code 1 on an error.

    The item comes from `+item=NAME` on the command line.
    """

    @hydra.main(version_base="1.3", config_path=str(Path.cwd()), config_name="params")  # type: ignore[untyped-decorator]
    def main(raw: DictConfig) -> None:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr, force=True)
        item = str(raw.get("item", ""))
        try:
            if restored := keep_or_restore():
                logging.getLogger(__name__).warning("%s", restored)
            stage(load_config(raw).settings(stage.__name__, item))
            record(stage.__name__, item)
        except PermafrostError as error:
            sys.stderr.write(f"error: {error}\n")
            sys.exit(1)

    main()
