"""What every stage shares: Hydra reads params.yaml, a stage gets what it may read, errors become one message."""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import load_config
from pipeline.config.load import DEFAULT_FILE
from pipeline.config.reading import read_text, require_reasonable
from pipeline.dvc_lock import keep_or_restore
from pipeline.errors import ConfigError
from pipeline.failures import reported
from pipeline.launched import launched, require_alone
from pipeline.timings import record

SEVERAL = frozenset({"train"})  # stages that torchrun may start


def run(stage: Callable[..., None], *, in_parts: bool = False) -> None:
    """Run `stage(settings)` with the settings of the stage of that name, and end with exit code 1 on an error.

    The item comes from `+item=NAME` on the command line. With `in_parts` the stage takes `part=` as well, from
    `+part=3/64`, or None.
    """

    @hydra.main(version_base="1.3", config_path=str(Path.cwd()), config_name="params")  # type: ignore[untyped-decorator]
    def main(raw: DictConfig) -> None:
        item = str(raw.get("item", ""))
        with reported(f"{stage.__name__}@{item}" if item else stage.__name__):
            first = launched().first
            level = logging.INFO if first else logging.ERROR  # the other processes would only say it again
            logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
            if stage.__name__ not in SEVERAL:
                require_alone(f"The stage {stage.__name__}", "each would do the whole work, over the others' files")
            if first and (restored := keep_or_restore()):
                logging.getLogger(__name__).warning("%s", restored)
            settings = load_config(raw).settings(stage.__name__, item)
            if in_parts:
                stage(settings, part=raw.get("part"))
            elif "part" in raw:
                raise ConfigError(f"Stage {stage.__name__} has no parts: run it without +part.")
            else:
                stage(settings)
            if first:
                record(stage.__name__, f"{item}+part={raw.part}" if "part" in raw else item)

    with reported(stage.__name__):
        require_reasonable(read_text(DEFAULT_FILE), str(DEFAULT_FILE))
        os.environ["HYDRA_FULL_ERROR"] = "1"  # or it prints a traceback of its own
        try:
            main()
        except (HydraException, OmegaConfBaseException) as error:
            load_config()  # says it better, if the file is to blame
            raise ConfigError(f"Hydra cannot read the command line: {' '.join(str(error).split())}") from error
